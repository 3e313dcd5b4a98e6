// Random words, four a thread; see `stir` in head.cu. In a CUDA graph *shift says how far the counter has moved on since the graph
// was captured; null elsewhere, here and below.
extern "C" __global__ void philox(word* out, long long count, word key0, word key1, word counter0, word counter1, const word* shift) {
    long long i = THREAD;
    word block[4];
    if (4 * i >= count) return;
    if (shift) counter0 += *shift;
    stir(block, i, key0, key1, counter0, counter1);
    for (int k = 0; k < 4 && 4 * i + k < count; k++) out[4 * i + k] = block[k];
}

// y = x mask, or the mask itself if x is null. Element i of the mask is 0 if its share of the random words is below cut, else factor:
// a word, or with share = 4 sixteen bits of one, the lowest first. 256 threads a block, each of which makes four words for its block.
extern "C" __global__ void dropout(const REAL* x, REAL* y, long long count, word key0, word key1, word counter, word cut, int share,
                                   REAL factor, const word* shift) {
    __shared__ word words[4 * 256];
    if (shift) counter += *shift;
    long long first = blockIdx.x * 4ll * 256 * share;
    stir(words + 4 * threadIdx.x, THREAD, key0, key1, counter, 0);
    __syncthreads();
    for (int k = threadIdx.x; k < 4 * 256 * share && first + k < count; k += 256) {
        word mine = share == 4 ? words[k / 4] >> 16 * (k % 4) & 0xffff : words[k];
        REAL kept = mine < cut ? 0 : factor;
        y[first + k] = x ? x[first + k] * kept : kept;
    }
}
