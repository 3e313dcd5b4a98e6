// One step of a recurrent layer, what its gates do with the products: the caller multiplies, ``product`` (B, G H) is W_hh h and the
// inputs' part W_ih x of all steps lies in ``gates`` (T, B, G H). A thread takes one unit of one sequence.
//
// Letters: T steps, B batch, H hidden features, G gates. ``states`` and ``cells`` (T + 1, B, H) stand at the edges between the steps:
// step t leads from edge t to edge t + 1, in reverse from edge t + 1 to edge t. A sequence that is over at step t (``lengths``, null if
// all are whole) keeps its state, and its output is zero. Biases may be null.
//
// Backward, ``arriving`` (B, H) is what the step after sends through its product, and ``held`` (B, H) what it passes on beside it.

__device__ REAL sigmoid(REAL x) { return 1 / (1 + exp(-x)); }

__device__ bool is_over(const long long* lengths, long long sequence, long long t) { return lengths && t >= lengths[sequence]; }

// What gate `gate` of unit u adds up: W_ih x + b_ih + W_hh h + b_hh.
__device__ REAL summed(const REAL* inputs, const REAL* bias_x, const REAL* product, const REAL* bias_h, long long j) {
    return inputs[j] + (bias_x ? bias_x[j] : 0) + (product[j] + (bias_h ? bias_h[j] : 0));
}

// The output of step t, and behind all of them the final state, if this was the last step.
__device__ void publish(REAL* out, REAL h, bool over, long long i, long long size, long long steps, int reverse, long long t) {
    out[t * size + i] = over ? 0 : h;
    if (t == (reverse ? 0 : steps - 1)) out[steps * size + i] = h;
}

// --- LSTM ------------------------------------------------------------------------------------------------------------------------

// c = sigmoid(f) c + sigmoid(i) tanh(g),  h = sigmoid(o) tanh(c). The gates, behind their nonlinearities, replace what was in `gates`.
extern "C" __global__ void lstm_forward(const REAL* product, const REAL* bias_x, const REAL* bias_h, const long long* lengths,
                                        REAL* states, REAL* out, REAL* gates, REAL* cells, long long steps, long long batch,
                                        long long hidden, int reverse, long long t) {
    long long i = THREAD, size = batch * hidden;
    if (i >= size) return;
    long long b = i / hidden, u = i % hidden, before = (t + reverse) * size + i, after = (t + 1 - reverse) * size + i;
    bool over = is_over(lengths, b, t);
    REAL c = cells[before], h;
    if (over) {
        h = states[before];
    } else {
        product += b * 4 * hidden;
        gates += (t * batch + b) * 4 * hidden;
        long long at_f = hidden + u, at_g = 2 * hidden + u, at_o = 3 * hidden + u;
        REAL input = sigmoid(summed(gates, bias_x, product, bias_h, u)), forget = sigmoid(summed(gates, bias_x, product, bias_h, at_f));
        REAL fresh = tanh(summed(gates, bias_x, product, bias_h, at_g)), show = sigmoid(summed(gates, bias_x, product, bias_h, at_o));
        gates[u] = input;
        gates[at_f] = forget;
        gates[at_g] = fresh;
        gates[at_o] = show;
        c = forget * c + input * fresh;
        h = show * tanh(c);
    }
    cells[after] = c;
    states[after] = h;
    publish(out, h, over, i, size, steps, reverse, t);
    if (t == (reverse ? 0 : steps - 1)) out[(steps + 1) * size + i] = c;
}

// With h = o tanh(c):  dc += dh o (1 - tanh(c)^2);  then  di = dc g,  df = dc c_before,  dg = dc i,  do = dh tanh(c). The slope of a
// sigmoid s is s (1 - s), that of a tanh s is 1 - s^2. da: (T, B, 4 H), before the nonlinearities.
extern "C" __global__ void lstm_backward(const REAL* g, const long long* lengths, const REAL* arriving, REAL* held, const REAL* gates,
                                         const REAL* cells, REAL* dc, REAL* da, long long batch, long long hidden, int reverse,
                                         long long t) {
    long long i = THREAD, size = batch * hidden;
    if (i >= size) return;
    long long b = i / hidden, u = i % hidden, before = (t + reverse) * size + i, after = (t + 1 - reverse) * size + i;
    long long at_f = hidden + u, at_g = 2 * hidden + u, at_o = 3 * hidden + u;
    gates += (t * batch + b) * 4 * hidden;
    da += (t * batch + b) * 4 * hidden;
    REAL dh = arriving[i] + held[i];
    if (is_over(lengths, b, t)) {
        da[u] = da[at_f] = da[at_g] = da[at_o] = 0;
        held[i] = dh;
        return;
    }
    dh += g[t * size + i];
    REAL input = gates[u], forget = gates[at_f], fresh = gates[at_g], show = gates[at_o], squashed = tanh(cells[after]);
    REAL total = dc[i] + dh * show * (1 - squashed * squashed);
    da[u] = total * fresh * input * (1 - input);
    da[at_f] = total * cells[before] * forget * (1 - forget);
    da[at_g] = total * input * (1 - fresh * fresh);
    da[at_o] = dh * squashed * show * (1 - show);
    dc[i] = total * forget;
    held[i] = 0;
}

// --- GRU -------------------------------------------------------------------------------------------------------------------------

// r = sigmoid(r_x + r_h),  z = sigmoid(z_x + z_h),  n = tanh(n_x + r n_h),  h = n + z (h_before - n). r, z and n replace what was in
// `gates`; inner (T, B, H), n_h with its bias, may be null.
extern "C" __global__ void gru_forward(const REAL* product, const REAL* bias_x, const REAL* bias_h, const long long* lengths,
                                       REAL* states, REAL* out, REAL* gates, REAL* inner, long long steps, long long batch,
                                       long long hidden, int reverse, long long t) {
    long long i = THREAD, size = batch * hidden;
    if (i >= size) return;
    long long b = i / hidden, u = i % hidden, before = (t + reverse) * size + i, after = (t + 1 - reverse) * size + i;
    bool over = is_over(lengths, b, t);
    REAL h = states[before];
    if (!over) {
        product += b * 3 * hidden;
        gates += (t * batch + b) * 3 * hidden;
        long long at_z = hidden + u, at_n = 2 * hidden + u;
        REAL r = sigmoid(summed(gates, bias_x, product, bias_h, u)), z = sigmoid(summed(gates, bias_x, product, bias_h, at_z));
        REAL n_h = product[at_n] + (bias_h ? bias_h[at_n] : 0), n = tanh(gates[at_n] + (bias_x ? bias_x[at_n] : 0) + r * n_h);
        gates[u] = r;
        gates[at_z] = z;
        gates[at_n] = n;
        if (inner) inner[t * size + i] = n_h;
        h = n + z * (h - n);
    }
    states[after] = h;
    publish(out, h, over, i, size, steps, reverse, t);
}

// dn_x = dh (1 - z) (1 - n^2),  dr = dn_x n_h r (1 - r),  dz = dh (h_before - n) z (1 - z),  dn_h = dn_x r. The gradients of r, z, n_x
// go to dx, those of r, z, n_h to ds, both (T, B, 3 H).
extern "C" __global__ void gru_backward(const REAL* g, const long long* lengths, const REAL* arriving, REAL* held, const REAL* gates,
                                        const REAL* inner, const REAL* states, REAL* dx, REAL* ds, long long batch, long long hidden,
                                        int reverse, long long t) {
    long long i = THREAD, size = batch * hidden;
    if (i >= size) return;
    long long b = i / hidden, u = i % hidden, row = (t * batch + b) * 3 * hidden, at_z = hidden + u, at_n = 2 * hidden + u;
    gates += row;
    dx += row;
    ds += row;
    REAL dh = arriving[i] + held[i];
    if (is_over(lengths, b, t)) {
        dx[u] = dx[at_z] = dx[at_n] = ds[u] = ds[at_z] = ds[at_n] = 0;
        held[i] = dh;
        return;
    }
    dh += g[t * size + i];
    REAL r = gates[u], z = gates[at_z], n = gates[at_n];
    REAL dn = dh * (1 - z) * (1 - n * n), dr = dn * inner[t * size + i] * r * (1 - r);
    REAL dz = dh * (states[(t + reverse) * size + i] - n) * z * (1 - z);
    dx[u] = ds[u] = dr;
    dx[at_z] = ds[at_z] = dz;
    dx[at_n] = dn;
    ds[at_n] = dn * r;
    held[i] = dh * z;
}

// --- RNN -------------------------------------------------------------------------------------------------------------------------

// h = tanh(a), or max(a, 0) if rectified.
extern "C" __global__ void rnn_forward(const REAL* product, const REAL* bias_x, const REAL* bias_h, const long long* lengths,
                                       REAL* states, REAL* out, const REAL* gates, int rectified, long long steps, long long batch,
                                       long long hidden, int reverse, long long t) {
    long long i = THREAD, size = batch * hidden;
    if (i >= size) return;
    long long b = i / hidden, u = i % hidden;
    bool over = is_over(lengths, b, t);
    REAL h = states[(t + reverse) * size + i];
    if (!over) {
        REAL a = summed(gates + (t * batch + b) * hidden, bias_x, product + b * hidden, bias_h, u);
        h = rectified ? larger(a, 0) : tanh(a);
    }
    states[(t + 1 - reverse) * size + i] = h;
    publish(out, h, over, i, size, steps, reverse, t);
}

// da = dh f'(a), with tanh'(a) = 1 - h^2 and relu'(a) = [h > 0]; da: (T, B, H).
extern "C" __global__ void rnn_backward(const REAL* g, const long long* lengths, const REAL* arriving, REAL* held, const REAL* states,
                                        int rectified, REAL* da, long long batch, long long hidden, int reverse, long long t) {
    long long i = THREAD, size = batch * hidden;
    if (i >= size) return;
    bool over = is_over(lengths, i / hidden, t);
    REAL dh = arriving[i] + held[i], h = states[(t + 1 - reverse) * size + i];
    if (!over) dh += g[t * size + i];
    da[t * size + i] = over ? 0 : dh * (rectified ? (h > 0 ? 1 : 0) : 1 - h * h);
    held[i] = over ? dh : 0;
}
