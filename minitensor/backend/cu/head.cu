// The head of every file in this folder: what its kernels share. Each file is compiled behind it at run time (NVRTC) when one of its
// kernels is first used, with -DREAL=float or -DREAL=double.
//
// Arrays are C-contiguous. "One block a row" kernels run blockDim.x threads, a multiple of 32 and at most 1024, on the row
// blockIdx.x; all others number their threads through the grid. No kernel adds floats atomically: every sum has one fixed order,
// so that a run can be repeated bit for bit.

typedef unsigned long long word;

#define ALL_LANES 0xffffffffu
#define THREAD (blockIdx.x * (long long)blockDim.x + threadIdx.x)
#define ROW(array) ((array) + blockIdx.x * width)
#define FOR_ROW(j) for (long long j = threadIdx.x; j < width; j += blockDim.x)

__device__ REAL larger(REAL a, REAL b) { return a > b || a != a ? a : b; }  // NaN wins, as in NumPy

// Sum (or maximum) of one number per thread; every thread of the block gets the result.
__device__ REAL block_reduce(REAL x, bool maximum) {
    __shared__ REAL parts[32];
    for (int step = 16; step > 0; step /= 2) {
        REAL other = __shfl_xor_sync(ALL_LANES, x, step);
        x = maximum ? larger(x, other) : x + other;
    }
    __syncthreads();  // parts may still be read by the previous reduction
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
    __syncthreads();
    x = parts[0];
    for (int i = 1; i < blockDim.x / 32; i++) x = maximum ? larger(x, parts[i]) : x + parts[i];
    return x;
}

__device__ REAL block_sum(REAL x) { return block_reduce(x, false); }
__device__ REAL block_max(REAL x) { return block_reduce(x, true); }

// Philox4x64-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): words 4i to 4i + 3 are the counter plus i,
// stirred ten times with the key. Equal word for word to numpy.random.Philox.
__device__ void stir(word* block, long long i, word key0, word key1, word counter0, word counter1) {
    word c0 = counter0 + i, c1 = counter1 + (c0 < counter0), c2 = c1 < counter1, c3 = 0;
    for (int round = 0; round < 10; round++) {
        word high0 = __umul64hi(0xD2E7470EE14C6C93ull, c0), low0 = 0xD2E7470EE14C6C93ull * c0;
        word high1 = __umul64hi(0xCA5A826395121157ull, c2), low1 = 0xCA5A826395121157ull * c2;
        c0 = high1 ^ c1 ^ key0;
        c1 = low1;
        c2 = high0 ^ c3 ^ key1;
        c3 = low0;
        key0 += 0x9E3779B97F4A7C15ull;
        key1 += 0xBB67AE8584CAA73Bull;
    }
    block[0] = c0;
    block[1] = c1;
    block[2] = c2;
    block[3] = c3;
}

// Sum over the lanes of a block whose threads are laid out as (lanes, columns), both powers of two: halves are added to halves. The
// threads of lane 0, the first `columns`, get the result.
__device__ REAL lane_sum(REAL x, int columns) {
    __shared__ REAL lanes[1024];
    __syncthreads();  // lanes may still be read by the previous sum
    lanes[threadIdx.x] = x;
    for (int step = blockDim.x / 2; step >= columns; step /= 2) {
        __syncthreads();
        if (threadIdx.x < step) lanes[threadIdx.x] += lanes[threadIdx.x + step];
    }
    return lanes[threadIdx.x];
}
