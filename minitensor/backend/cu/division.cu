// The quotient rounded down and the remainder with the sign of y, both from the exact remainder of fmod, as NumPy has them:
// floor(x / y) would make 1.0 / 0.1 ten, which is one too many.
__device__ REAL divide_whole(REAL x, REAL y, REAL* rest) {
    *rest = fmod(x, y);
    if (y == 0) return x / y;
    REAL quotient = (x - *rest) / y;
    if (*rest == 0) {
        *rest = copysign((REAL)0, y);
    } else if ((*rest < 0) != (y < 0)) {
        *rest += y;
        quotient -= 1;
    }
    if (quotient == 0) return copysign((REAL)0, x / y);
    REAL whole = floor(quotient);
    return quotient - whole > (REAL)0.5 ? whole + 1 : whole;
}

extern "C" __global__ void floor_divide(const REAL* x, const REAL* y, REAL* out, long long count) {
    long long i = THREAD;
    REAL rest;
    if (i < count) out[i] = divide_whole(x[i], y[i], &rest);
}

extern "C" __global__ void remainder_of(const REAL* x, const REAL* y, REAL* out, long long count) {
    long long i = THREAD;
    if (i < count) divide_whole(x[i], y[i], out + i);
}
