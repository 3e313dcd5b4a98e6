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
