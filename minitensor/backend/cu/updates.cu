// p = keep p;  g = g + coupled p;  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;  p = p - size m / (sqrt(v) + eps).
// Kingma and Ba, "Adam", 2015, with both bias corrections folded into size and eps by the caller. In a CUDA graph live holds the six
// numbers, which change from step to step; null elsewhere. If unless, where it is not null, holds another number than 0, nothing is done.
extern "C" __global__ void adam(REAL* p, const REAL* g, REAL* m, REAL* v, long long count, REAL beta1, REAL beta2, REAL keep,
                                REAL coupled, REAL eps, REAL size, const REAL* live, const double* unless) {
    long long i = THREAD;
    if (i >= count || (unless && *unless != 0)) return;
    if (live) beta1 = live[0], beta2 = live[1], keep = live[2], coupled = live[3], eps = live[4], size = live[5];
    REAL value = p[i] * keep, slope = coupled == 0 ? g[i] : g[i] + coupled * value;  // 0 times an infinite weight is NaN
    m[i] = beta1 * m[i] + (1 - beta1) * slope;
    v[i] = beta2 * v[i] + (1 - beta2) * slope * slope;
    p[i] = value - size * m[i] / (sqrt(v[i]) + eps);
}

// average += rest (value - average), for many arrays at once. A row of the table is (address of the average, address of the values,
// elements, first block); a block takes 1024 elements of one array. unless as in adam.
extern "C" __global__ void averages(const long long* table, long long arrays, REAL rest, const double* unless) {
    if (unless && *unless != 0) return;
    long long low = 0, high = arrays;  // the last array whose first block is not behind this one is in [low, high)
    while (high - low > 1) {
        long long middle = (low + high) / 2;
        if (table[4 * middle + 3] <= blockIdx.x)
            low = middle;
        else
            high = middle;
    }
    table += 4 * low;
    REAL* average = (REAL*)table[0];
    const REAL* value = (const REAL*)table[1];
    long long first = (blockIdx.x - table[3]) * 1024, last = first + 1024 < table[2] ? first + 1024 : table[2];
    for (long long i = first + threadIdx.x; i < last; i += blockDim.x) average[i] += rest * (value[i] - average[i]);
}

// told[place] = value. told[0] becomes the place of the first value that is not finite, and stays it. One thread.
extern "C" __global__ void note(const REAL* value, double* told, long long place) {
    if (THREAD != 0) return;
    told[place] = *value;
    if (told[0] == 0 && !isfinite(*value)) told[0] = place;
}
