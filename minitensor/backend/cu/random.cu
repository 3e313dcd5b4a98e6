// Philox4x64-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): words 4i to 4i + 3 are the counter plus i,
// stirred ten times with the key. Equal word for word to numpy.random.Philox.
extern "C" __global__ void philox(word* out, long long count, word key0, word key1, word counter0, word counter1) {
    long long i = THREAD;
    if (4 * i >= count) return;
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
    word block[4] = {c0, c1, c2, c3};
    for (int k = 0; k < 4 && 4 * i + k < count; k++) out[4 * i + k] = block[k];
}
