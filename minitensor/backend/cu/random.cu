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

extern "C" __global__ void philox(word* out, long long count, word key0, word key1, word counter0, word counter1) {
    long long i = THREAD;
    word block[4];
    if (4 * i >= count) return;
    stir(block, i, key0, key1, counter0, counter1);
    for (int k = 0; k < 4 && 4 * i + k < count; k++) out[4 * i + k] = block[k];
}

// y = x mask, or the mask itself if x is null. Element i of the mask is 0 if its share of the random words is below cut, else factor:
// a word, or with share = 4 sixteen bits of one, the lowest first. 256 threads a block, each of which makes four words for its block.
extern "C" __global__ void dropout(const REAL* x, REAL* y, long long count, word key0, word key1, word counter, word cut, int share,
                                   REAL factor) {
    __shared__ word words[4 * 256];
    long long first = blockIdx.x * 4ll * 256 * share;
    stir(words + 4 * threadIdx.x, THREAD, key0, key1, counter, 0);
    __syncthreads();
    for (int k = threadIdx.x; k < 4 * 256 * share && first + k < count; k += 256) {
        word mine = share == 4 ? words[k / 4] >> 16 * (k % 4) & 0xffff : words[k];
        REAL kept = mine < cut ? 0 : factor;
        y[first + k] = x ? x[first + k] * kept : kept;
    }
}
