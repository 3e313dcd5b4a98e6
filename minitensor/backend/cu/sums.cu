// out[c, j] = sum of x[i, j] over the rows i of chunk c = blockIdx.y. A block takes `columns` columns, a power of two; its lanes take
// every so manieth row. Run once more on the sums of the chunks it gives the sums of the columns.
extern "C" __global__ void column_sums(const REAL* x, REAL* out, long long rows, long long width, long long chunk, int columns) {
    long long j = blockIdx.x * (long long)columns + threadIdx.x % columns;
    long long first = blockIdx.y * chunk, last = first + chunk < rows ? first + chunk : rows;
    REAL sum = 0;
    if (j < width) {
#pragma unroll 8
        for (long long i = first + threadIdx.x / columns; i < last; i += blockDim.x / columns) sum += x[i * width + j];
    }
    sum = lane_sum(sum, columns);
    if (threadIdx.x < columns && j < width) out[blockIdx.y * width + j] = sum;
}

// Each block takes 16 elements a thread: with unit a power of two near the greatest magnitude among them, total is the sum of the
// squares of x / unit, which neither overflows nor vanishes. unit is 0 if all are 0, and the greatest there is if one is not finite.
extern "C" __global__ void squares(const REAL* x, REAL* units, REAL* totals, long long count, long long place) {
    REAL held[16], top = 0, unit = 0, total = 0;
    long long first = blockIdx.x * 16ll * blockDim.x + threadIdx.x;
    for (int k = 0; k < 16; k++) {
        long long i = first + k * (long long)blockDim.x;
        held[k] = i < count ? x[i] : 0;
        top = larger(fabs(held[k]), top);
    }
    top = block_max(top);
    if (!isfinite(top))
        unit = ldexp(REAL(1), sizeof(REAL) == 4 ? 127 : 1023);
    else if (top > 0)
        unit = ldexp(REAL(1), ilogb(top));  // top / unit is in [1, 2)
    if (unit > 0)
        for (int k = 0; k < 16; k++) total += held[k] / unit * (held[k] / unit);
    total = block_sum(total);
    if (threadIdx.x == 0) {
        units[place + blockIdx.x] = unit;
        totals[place + blockIdx.x] = total;
    }
}

// out = (unit, root, norm, scale) of what `squares` found in `count` blocks: the norm is unit root, and
// scale = min(1, most / (norm + 1e-6)), right also if the norm overflows. One block.
extern "C" __global__ void norm_and_scale(const REAL* units, const REAL* totals, long long count, REAL* out, REAL most) {
    REAL unit = 0, total = 0;
    for (long long i = threadIdx.x; i < count; i += blockDim.x) unit = larger(units[i], unit);
    unit = block_max(unit);
    if (unit == 0) unit = 1;
    for (long long i = threadIdx.x; i < count; i += blockDim.x) total += totals[i] * (units[i] / unit * (units[i] / unit));
    total = block_sum(total);
    if (threadIdx.x != 0) return;
    double root = sqrt((double)total), above = unit > 1 ? unit : 1;  // above is divided out of both
    double scale = most / above / (root * (unit / above) + 1e-6 / above);
    out[0] = unit;
    out[1] = root;
    out[2] = unit * root;
    out[3] = scale < 1 || scale != scale ? scale : 1;
}
