// Just enough of CUDA to run the kernels of backend/cu on a CPU, thread by thread: every thread of a block is a fiber, and a barrier or a shuffle
// hands over to the next one. Blocks run one after the other, threads and blocks from the last to the first if `backwards`. A fiber begins as a context of its own; after that jumps go between it and
// the scheduler, which take no call of the system.
#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <functional>
#include <vector>

#define __global__
#define __launch_bounds__(...)
#define __forceinline__
#define __device__ static
#define __shared__ static  // one block at a time, so one copy is enough

struct Index {
    unsigned x, y, z;
};
static Index threadIdx, blockIdx, blockDim, gridDim;

static const int STACK = 64 << 10, MOST = 1024;
static ucontext_t fibers[MOST];
static jmp_buf scheduler, paused[MOST];
static bool begun[MOST], finished[MOST], running;
static double slots[MOST];
static char* stacks = (char*)malloc((size_t)STACK * MOST);
static std::function<void()>* body;
extern "C" int backwards = 0;

static void fiber() {
    (*body)();
    finished[threadIdx.x] = true;
    _longjmp(scheduler, 1);
}

static void __syncthreads() {
    unsigned me = threadIdx.x;
    if (!_setjmp(paused[me])) _longjmp(scheduler, 1);
    threadIdx.x = me;
}

template <typename T>
static T __shfl_xor_sync(unsigned, T value, int lanes) {
    slots[threadIdx.x] = value;
    __syncthreads();
    T other = (T)slots[threadIdx.x ^ lanes];
    __syncthreads();
    return other;
}

static unsigned __float_as_uint(float value) {
    unsigned bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float __uint_as_float(unsigned bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)(((unsigned __int128)a * b) >> 64);
}

static unsigned long long atomicCAS(unsigned long long* place, unsigned long long expected, unsigned long long value) {
    unsigned long long before = *place;
    if (before == expected) *place = value;
    return before;
}

// Let thread t run until it waits or is done.
static void go_on(unsigned t) {
    if (finished[t]) return;
    running = true;
    threadIdx = {t, 0, 0};
    if (_setjmp(scheduler)) return;
    if (begun[t]) _longjmp(paused[t], 1);
    begun[t] = true;
    setcontext(&fibers[t]);
}

static void emulate(unsigned grid_x, unsigned grid_y, unsigned threads, std::function<void()> kernel) {
    body = &kernel;
    gridDim = {grid_x, grid_y, 1};
    blockDim = {threads, 1, 1};
    for (unsigned y = 0; y < grid_y; y++)
        for (unsigned x = 0; x < grid_x; x++) {
            blockIdx = {backwards ? grid_x - 1 - x : x, backwards ? grid_y - 1 - y : y, 0};
            for (unsigned t = 0; t < threads; t++) {
                begun[t] = finished[t] = false;
                getcontext(&fibers[t]);
                fibers[t].uc_stack.ss_sp = stacks + (size_t)STACK * t;
                fibers[t].uc_stack.ss_size = STACK;
                makecontext(&fibers[t], fiber, 0);
            }
            for (running = true; running;) {
                running = false;
                for (unsigned t = 0; t < threads; t++) go_on(backwards ? threads - 1 - t : t);
            }
        }
}
