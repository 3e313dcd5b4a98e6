// Adafactor (Shazeer and Stern, 2018) for all parameters of a stretch of the flat arrays at once. Each parameter has a row of the
// table: a matrix, or a stack of them, (matrices, rows, columns), with its moments of rows (matrices, rows) and of columns (matrices,
// columns); a vector is one row, and its moment is whole. Sums of squares of the rows, numbered through all parameters, and of
// chunks of columns are kept between the kernels.
struct Parameter {
    long long start, matrices, rows, columns;  // where it begins in the flat arrays, and its shape
    long long row_moment, column_moment;       // addresses; a vector has its moment under the first, and 0
    long long chunks, partial;                 // of the rows of one matrix, and where the sums of its columns begin
    long long number;                          // of the parameter itself
    long long row, chunk_strip, strip, matrix;  // the first of its numbers of each kind
};

enum { FIELDS = 13, OF_ROW = 9, OF_CHUNK_STRIP, OF_STRIP, OF_MATRIX };

#define CHUNK 256  // rows that a block of adafactor_columns adds up
#define STRIP 32   // columns of one block

// The parameter that a block belongs to: the last one whose first number, `field` of its row, is not behind the block.
__device__ Parameter parameter_of(const long long* table, long long count, int field) {
    long long low = 0, high = count;
    while (high - low > 1) {
        long long middle = (low + high) / 2;
        if (table[FIELDS * middle + field] <= blockIdx.x)
            low = middle;
        else
            high = middle;
    }
    return ((const Parameter*)table)[low];
}

// u = g / sqrt(max(v, lowest)) with v = R C / mean(R), or a vector's moment.
__device__ REAL direction(Parameter it, long long row, long long j, REAL g, const REAL* means, REAL lowest) {
    REAL v = ((REAL*)it.row_moment)[it.column_moment ? row : j];
    if (it.column_moment) v = v / means[it.matrix + row / it.rows] * ((REAL*)it.column_moment)[row / it.rows * it.columns + j];
    return g / sqrt(larger(v, lowest));
}

// Moments of the rows, R += newest (mean of g^2 - R), and the sum of p^2 in each. One block a row.
extern "C" __global__ void adafactor_rows(const long long* table, long long count, const REAL* p, const REAL* g, REAL* squares,
                                          REAL newest) {
    Parameter it = parameter_of(table, count, OF_ROW);
    long long row = blockIdx.x - it.row, width = it.columns;
    p += it.start + row * width;
    g += it.start + row * width;
    REAL of_p = 0, of_g = 0;
    FOR_ROW(j) {
        of_p += p[j] * p[j];
        of_g += g[j] * g[j];
    }
    of_p = block_sum(of_p);
    of_g = block_sum(of_g);
    if (threadIdx.x != 0) return;
    squares[blockIdx.x] = of_p;
    if (it.column_moment) ((REAL*)it.row_moment)[row] += newest * (of_g / width - ((REAL*)it.row_moment)[row]);
}

// Sums of g^2 over the columns of chunks of rows. One block a chunk and strip of columns.
extern "C" __global__ void adafactor_columns(const long long* table, long long count, const REAL* g, REAL* partials) {
    Parameter it = parameter_of(table, count, OF_CHUNK_STRIP);
    long long strips = (it.columns + STRIP - 1) / STRIP, number = blockIdx.x - it.chunk_strip;
    long long j = number % strips * STRIP + threadIdx.x % STRIP, chunk = number / strips, matrix = chunk / it.chunks;
    long long first = chunk % it.chunks * CHUNK, last = first + CHUNK < it.rows ? first + CHUNK : it.rows;
    REAL sum = 0;
    if (j < it.columns)
        for (long long i = first + threadIdx.x / STRIP; i < last; i += blockDim.x / STRIP) {
            REAL value = g[it.start + (matrix * it.rows + i) * it.columns + j];
            sum += value * value;
        }
    sum = lane_sum(sum, STRIP);
    if (threadIdx.x < STRIP && j < it.columns) partials[it.partial + chunk * it.columns + j] = sum;
}

// Moments of the columns, C += newest (mean of g^2 - C). One block a matrix and strip of columns.
extern "C" __global__ void adafactor_column_moments(const long long* table, long long count, const REAL* partials, REAL newest) {
    Parameter it = parameter_of(table, count, OF_STRIP);
    long long strips = (it.columns + STRIP - 1) / STRIP, number = blockIdx.x - it.strip;
    long long j = number % strips * STRIP + threadIdx.x % STRIP, matrix = number / strips;
    REAL sum = 0;
    if (j < it.columns)
        for (long long c = threadIdx.x / STRIP; c < it.chunks; c += blockDim.x / STRIP)
            sum += partials[it.partial + (matrix * it.chunks + c) * it.columns + j];
    sum = lane_sum(sum, STRIP);
    if (threadIdx.x >= STRIP || j >= it.columns) return;
    REAL* moment = (REAL*)it.column_moment + matrix * it.columns + j;
    *moment += newest * (sum / it.rows - *moment);
}

// max(mean(R), least) of each matrix. One block a matrix.
extern "C" __global__ void adafactor_means(const long long* table, long long count, REAL* means, REAL least) {
    Parameter it = parameter_of(table, count, OF_MATRIX);
    const REAL* moment = (const REAL*)it.row_moment + (blockIdx.x - it.matrix) * it.rows;
    REAL sum = 0;
    for (long long i = threadIdx.x; i < it.rows; i += blockDim.x) sum += moment[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) means[blockIdx.x] = larger(sum / it.rows, least);
}

// The sum of u^2 in each row; a vector's moment, v += newest (g^2 - v), is brought up to date before. One block a row.
extern "C" __global__ void adafactor_directions(const long long* table, long long count, const REAL* g, const REAL* means,
                                                REAL* squares, REAL newest, REAL lowest) {
    Parameter it = parameter_of(table, count, OF_ROW);
    long long row = blockIdx.x - it.row, width = it.columns;
    g += it.start + row * width;
    REAL sum = 0;
    FOR_ROW(j) {
        REAL* moment = (REAL*)it.row_moment + j;
        if (!it.column_moment) *moment += newest * (g[j] * g[j] - *moment);
        REAL u = direction(it, row, j, g[j], means, lowest);
        sum += u * u;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) squares[blockIdx.x] = sum;
}

// max(least, rms(p)) size / max(1, rms(u) / most) of each parameter. One block a parameter.
extern "C" __global__ void adafactor_sizes(const long long* table, long long count, const REAL* of_p, const REAL* of_u, REAL* sizes,
                                           REAL least, REAL size, REAL most) {
    Parameter it = ((const Parameter*)table)[blockIdx.x];
    long long rows = it.matrices * it.rows;
    REAL p = 0, u = 0;
    for (long long i = threadIdx.x; i < rows; i += blockDim.x) {
        p += of_p[it.row + i];
        u += of_u[it.row + i];
    }
    p = sqrt(block_sum(p) / (rows * it.columns));
    u = sqrt(block_sum(u) / (rows * it.columns));
    if (threadIdx.x == 0) sizes[blockIdx.x] = larger(p, least) * size / larger(u / most, 1);
}

// p = keep p - size u. One block a row.
extern "C" __global__ void adafactor_update(const long long* table, long long count, REAL* p, const REAL* g, const REAL* means,
                                            const REAL* sizes, REAL lowest, REAL keep) {
    Parameter it = parameter_of(table, count, OF_ROW);
    long long row = blockIdx.x - it.row, width = it.columns;
    REAL size = sizes[it.number];
    p += it.start + row * width;
    g += it.start + row * width;
    FOR_ROW(j) p[j] = keep * p[j] - size * direction(it, row, j, g[j], means, lowest);
}
