// Numbers of 16 bits as their bits: float16 (5 of the exponent, 10 behind the point) or, if `brain`, bfloat16 (8 and 7).

// The number next to x, ties to even; float16 ends at 65504, and what is greater becomes infinite.
__device__ unsigned short rounded_to_16(float x, bool brain) {
    unsigned all = __float_as_uint(x), sign = all >> 16 & 0x8000, size = all & 0x7fffffff;
    if (size > 0x7f800000) return sign | (brain ? 0x7fc0 : 0x7e00);  // NaN
    if (brain) return sign | ((size + 0x7fff + (size >> 16 & 1)) >> 16);
    if (size >= 0x47800000) return sign | 0x7c00;  // from 65536 on
    // Below 2^-14 numbers are 2^-24 apart, as float32 is between 1/2 and 1: the last 16 bits of such a sum count them.
    if (size < 0x38800000) return sign | __float_as_uint(__uint_as_float(size) + 0.5f);
    return sign | ((size + 0xfff + (size >> 13 & 1) - 0x38000000) >> 13);
}

__device__ float from_16(unsigned short bits, bool brain) {
    if (brain) return __uint_as_float((unsigned)bits << 16);
    unsigned sign = (unsigned)(bits & 0x8000) << 16, size = bits & 0x7fff;
    if (size >= 0x7c00) return __uint_as_float(sign | 0x7f800000 | (size & 0x3ff) << 13);
    if (size < 0x400) {
        float small = size * (1.0f / 16777216);
        return sign ? -small : small;
    }
    return __uint_as_float(sign | ((size << 13) + 0x38000000));
}

// x = high + low / factor: high is x in 16 bits, low what is left. Of an x that is infinite in 16 bits, or NaN, nothing is left.
extern "C" __global__ void halves(const REAL* x, unsigned short* high, unsigned short* low, long long count, REAL factor, int brain) {
    if (THREAD >= count) return;
    float value = x[THREAD];
    unsigned short first = rounded_to_16(value, brain);
    float rest = (value - from_16(first, brain)) * (float)factor;
    high[THREAD] = first;
    low[THREAD] = rest - rest == 0 ? rounded_to_16(rest, brain) : 0;
}
