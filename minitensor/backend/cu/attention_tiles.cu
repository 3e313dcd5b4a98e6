// Attention in tiles: no matrix of all queries and keys is ever in memory. What is kept of the scores is the maximum and the sum of
// exponentials of each row; the backward pass makes the weights again (Dao et al., "FlashAttention", 2022, arXiv:2205.14135; Dao,
// "FlashAttention-2", 2023, arXiv:2307.08691; Milakov and Gimelshein 2018, arXiv:1805.02867, for the running maximum):
//
//     S = Q K^T scale + bias,  P = exp(S - top) / total,  O = (P drop) V,  delta = <g, O>
//     dS = P (drop (g V^T) - delta),  dQ = dS K scale,  dK = dS^T Q scale,  dV = (P drop)^T g
//
// One kernel over tiles of queries gives O, one dQ, and one over tiles of keys dK and dV: each block of threads alone writes its rows,
// its sums go from the first tile to the last. Tiles above the diagonal of a causal attention are left out. What is
// wider than a tile is shared out along y of the grid: blocks that make the same weights again.
//
// Letters: T queries, S keys, K features of a head. q, k, v, g, o and their gradients are read and written by their own steps, in
// elements, along batch, head and row; the last axis is contiguous. mask (may be null) and bias (may be null) have steps along batch,
// head, query and key, 0 where they are repeated. A query t sees keys up to t + behind. A block runs 256 threads.
#define EVERY(i) _Pragma("unroll") for (int i = 0; i < EACH; i++)

namespace attention {

const int SIDE = 16, THREADS = SIDE * SIDE;  // a tile has a square of threads
const int EACH = sizeof(REAL) == 4 ? 4 : 2;  // of which each computes a square of EACH rows and columns
const int TILE = SIDE * EACH;                // queries, or keys, of a tile
const int DEPTH = TILE / 2;                  // features that a product of turned tiles takes at a time
const int STEP = TILE + EACH;                // from one line of a tile in shared memory to the next
const int BLOCKS = EACH / 2;                 // that a multiprocessor should have registers for

struct alignas(EACH * sizeof(REAL)) Few {  // read from shared memory at once
    REAL x[EACH];
};

typedef REAL Square[EACH][EACH];

struct Matrix {
    const REAL* at;
    int step, rows, columns;
};

struct Shared {
    Few operands[TILE * STEP / EACH], weights[TILE * STEP / EACH];
    bool seen[TILE], kept[TILE * TILE];
};

// Which scores there are.
struct Sight {
    const bool* mask;
    const REAL* bias;
    int mask_query, mask_key, bias_query, bias_key, queries, keys, behind;
    REAL scale;
};

// Dropout: see random.cu, also for shift. share is 0 if nothing is dropped.
struct Drop {
    word key0, key1, counter, cut;
    int share;
    REAL factor;
};

__device__ __forceinline__ long long place(int row, int step) { return row * (long long)step; }

// tile[c][r] = m[first + r][column + c] for DEPTH columns; 0 outside of m. A warp takes eight columns of four rows, which lie in
// 32 different banks.
__device__ __forceinline__ void load_turned(REAL* tile, Matrix m, int first, int column) {
    for (int i = threadIdx.x; i < TILE * DEPTH; i += THREADS) {
        int c = i % 8 + i / (8 * TILE) * 8, r = i / 8 % TILE;
        bool inside = first + r < m.rows && column + c < m.columns;
        tile[c * STEP + r] = inside ? m.at[place(first + r, m.step) + column + c] : 0;
    }
}

// tile[r][c] = m[first + r][column + c]; 0 outside of m, and in rows that are not seen, even of NaN.
__device__ __forceinline__ void load(REAL* tile, Matrix m, int first, int column, const bool* seen) {
    for (int i = threadIdx.x; i < TILE * TILE; i += THREADS) {
        int r = i / TILE, c = i % TILE;
        bool inside = seen[r] && first + r < m.rows && column + c < m.columns;
        tile[r * STEP + c] = inside ? m.at[place(first + r, m.step) + column + c] : 0;
    }
}

// sum += a^T b of tiles with `depth` lines.
template <int depth>
__device__ __forceinline__ void multiply(Square& sum, const REAL* a, const REAL* b) {
    a += EACH * (threadIdx.x / SIDE);
    b += EACH * (threadIdx.x % SIDE);
#pragma unroll 8
    for (int k = 0; k < depth; k++) {
        Few left = *(const Few*)(a + k * STEP), right = *(const Few*)(b + k * STEP);
        EVERY(i)
            EVERY(j) sum[i][j] += left.x[i] * right.x[j];
    }
}

// The tile of a b^T whose corner is (first, second): a thread has its rows from EACH (threadIdx.x / SIDE) on.
__device__ __forceinline__ void inner(Square& s, Shared& room, Matrix a, int first, Matrix b, int second) {
    REAL *left = room.operands->x, *right = left + DEPTH * STEP;
    EVERY(i)
        EVERY(j) s[i][j] = 0;
    for (int column = 0; column < a.columns; column += DEPTH) {
        __syncthreads();  // the tile may still be read
        load_turned(left, a, first, column);
        load_turned(right, b, second, column);
        __syncthreads();
        multiply<DEPTH>(s, left, right);
    }
}

// From products to scores, -inf where nothing is seen. Returns a bit for each score that is seen, and marks in room.seen the keys, or
// the queries, that have one.
__device__ __forceinline__ unsigned look(Square& s, Shared& room, const Sight& sight, int first, int key, bool of_queries) {
    int y = EACH * (threadIdx.x / SIDE), x = EACH * (threadIdx.x % SIDE);
    bool whole = first + TILE <= sight.queries && key + TILE <= sight.keys && key + TILE - 1 <= first + sight.behind;
    unsigned seen = 0;
    EVERY(i) {
        int t = first + y + i;
        const bool* mask = sight.mask ? sight.mask + place(t, sight.mask_query) + place(key + x, sight.mask_key) : 0;
        EVERY(j) {
            int n = key + x + j;
            bool sees = whole || (t < sight.queries && n < sight.keys && n <= t + sight.behind);
            if (mask && sees) sees = mask[place(j, sight.mask_key)];
            s[i][j] = sees ? s[i][j] * sight.scale : -1 / REAL(0);
            if (sees) seen |= 1u << (i * EACH + j);
        }
        if (sight.bias) {
            const REAL* bias = sight.bias + place(t, sight.bias_query) + place(key + x, sight.bias_key);
            EVERY(j) if (seen >> (i * EACH + j) & 1) s[i][j] += bias[place(j, sight.bias_key)];
        }
    }
    if (of_queries) {
        EVERY(i) if (seen >> i * EACH & ((1u << EACH) - 1)) room.seen[y + i] = true;
    } else {
        unsigned any = 0;
        EVERY(i) any |= seen >> i * EACH;
        EVERY(j) if (any >> j & 1) room.seen[x + j] = true;
    }
    return seen;
}

// room.kept: which weights of a tile dropout keeps.
__device__ __forceinline__ void draw(Shared& room, const Drop& drop, const Sight& sight, long long head, int first, int key) {
    int each = 4 * drop.share, count = TILE / each + (sight.keys % each != 0);  // elements of a block of words; blocks for a row
    for (int i = threadIdx.x; i < TILE * count; i += THREADS) {
        int row = i / count;
        word start = (head * sight.queries + first + row) * sight.keys + key, number = start / each + i % count, words[4];
        stir(words, number, drop.key0, drop.key1, drop.counter, 0);
        int at = number * each - start;  // -15 at least
#pragma unroll
        for (int k = 0; k < 4; k++)
            for (int part = 0; part < drop.share; part++, at++) {
                word mine = drop.share == 4 ? words[k] >> 16 * part & 0xffff : words[k];
                if (at >= 0 && at < TILE) room.kept[row * TILE + at] = mine >= drop.cut;
            }
    }
}

__device__ __forceinline__ REAL dropped(REAL weight, const Shared& room, const Drop& drop, int i, int j) {
    int y = EACH * (threadIdx.x / SIDE), x = EACH * (threadIdx.x % SIDE);
    return !drop.share ? weight : room.kept[(y + i) * TILE + x + j] ? weight * drop.factor : 0;
}

// Begin a tile: nothing is seen yet.
__device__ __forceinline__ void clear(Shared& room) {
    if (threadIdx.x < TILE) room.seen[threadIdx.x] = false;
}

// room.weights = s, or its transpose.
__device__ __forceinline__ void keep(Shared& room, const Square& s, bool turned) {
    int y = EACH * (threadIdx.x / SIDE), x = EACH * (threadIdx.x % SIDE);
    REAL* weights = room.weights->x;
    EVERY(i) {
        Few line;
        EVERY(j) line.x[j] = turned ? s[j][i] : s[i][j];
        *(Few*)(weights + (turned ? (x + i) * STEP + y : (y + i) * STEP + x)) = line;
    }
}

// sums += (room.weights)^T m, m from row `first` and `column` on.
__device__ __forceinline__ void mix(Square& sums, Shared& room, Matrix m, int first, int column) {
    __syncthreads();
    load(room.operands->x, m, first, column, room.seen);
    __syncthreads();
    multiply<TILE>(sums, room.weights->x, room.operands->x);
}

// Write sums times a number for each row to rows from `first` and columns from `column` on.
__device__ __forceinline__ void store(REAL* at, int step, int rows, int columns, int first, int column, const Square& sums,
                                      const REAL* factor) {
    first += EACH * (threadIdx.x / SIDE);
    column += EACH * (threadIdx.x % SIDE);
    EVERY(i)
        EVERY(j)
            if (first + i < rows && column + j < columns) at[place(first + i, step) + column + j] = sums[i][j] * factor[i];
}

// The sum of one number of each thread that has the same rows.
__device__ __forceinline__ REAL row_sum(REAL x) {
    for (int step = SIDE / 2; step > 0; step /= 2) x += __shfl_xor_sync(ALL_LANES, x, step);
    return x;
}

__device__ __forceinline__ REAL row_max(REAL x) {
    for (int step = SIDE / 2; step > 0; step /= 2) x = larger(x, __shfl_xor_sync(ALL_LANES, x, step));
    return x;
}

__device__ __forceinline__ void forward(Shared& room, const Sight& sight, const Drop& drop, Matrix q, Matrix k, Matrix v, REAL* o, int o_step,
                        REAL* tops, REAL* totals, long long head, int first, int column) {
    const REAL lowest = -1 / REAL(0);
    int last = sight.behind < sight.keys - first - TILE ? first + TILE + sight.behind : sight.keys;
    Square s, sums = {};
    REAL top[EACH], total[EACH] = {};
    EVERY(i) top[i] = lowest;
    for (int key = 0; key < last; key += TILE) {
        clear(room);
        if (drop.share) draw(room, drop, sight, head, first, key);
        inner(s, room, q, first, k, key);
        look(s, room, sight, first, key, false);
        EVERY(i) {
            REAL before = top[i];
            EVERY(j) top[i] = larger(top[i], s[i][j]);
            top[i] = row_max(top[i]);
            REAL shift = top[i] == lowest ? 0 : top[i], factor = exp(before - shift);
            total[i] *= factor;
            EVERY(j) sums[i][j] *= factor;
            EVERY(j) {
                REAL weight = exp(s[i][j] - shift);
                total[i] += weight;
                s[i][j] = dropped(weight, room, drop, i, j);
            }
        }
        keep(room, s, true);
        mix(sums, room, v, key, column);
    }
    EVERY(i) {
        total[i] = row_sum(total[i]);
        bool none = total[i] == 0;  // a row that sees nothing, or only -inf
        int t = first + EACH * (threadIdx.x / SIDE) + i;
        if (column == 0 && threadIdx.x % SIDE == 0 && t < sight.queries) {
            tops[head * sight.queries + t] = none ? 0 : top[i];
            totals[head * sight.queries + t] = none ? 1 : total[i];
        }
        total[i] = none ? 1 : 1 / total[i];
        EVERY(j) sums[i][j] = none ? 0 : sums[i][j];  // also where 0 times a value was NaN
    }
    store(o, o_step, sight.queries, v.columns, first, column, sums, total);
}

// p and dS of a tile, from S and g V^T.
__device__ __forceinline__ void slopes_of(Square& s, Square& ds, unsigned seen, const Shared& room, const Drop& drop, const REAL* top,
                          const REAL* share, const REAL* delta) {
    EVERY(i)
        EVERY(j) {
            s[i][j] = exp(s[i][j] - top[i]) * share[i];
            ds[i][j] = seen >> (i * EACH + j) & 1 ? s[i][j] * (dropped(ds[i][j], room, drop, i, j) - delta[i]) : 0;
        }
}

__device__ __forceinline__ void backward_queries(Shared& room, const Sight& sight, const Drop& drop, Matrix q, Matrix k, Matrix v, Matrix g, Matrix o,
                                 const REAL* tops, const REAL* totals, REAL* deltas, REAL* dq, int dq_step, REAL* slopes,
                                 long long head, int first, int column) {
    int last = sight.behind < sight.keys - first - TILE ? first + TILE + sight.behind : sight.keys;
    int y = EACH * (threadIdx.x / SIDE), x = EACH * (threadIdx.x % SIDE);
    Square s, ds, sums = {};
    REAL top[EACH] = {}, share[EACH] = {}, delta[EACH] = {}, scale[EACH];
    EVERY(i) {
        int t = first + y + i;
        scale[i] = sight.scale;
        if (t < sight.queries) {
            top[i] = tops[head * sight.queries + t];
            share[i] = 1 / totals[head * sight.queries + t];
            for (int c = threadIdx.x % SIDE; c < g.columns; c += SIDE) delta[i] += g.at[place(t, g.step) + c] * o.at[place(t, o.step) + c];
        }
        delta[i] = row_sum(delta[i]);
        if (column == 0 && x == 0 && t < sight.queries) deltas[head * sight.queries + t] = delta[i];
    }
    for (int key = 0; key < last; key += TILE) {
        clear(room);
        if (drop.share) draw(room, drop, sight, head, first, key);
        inner(s, room, q, first, k, key);
        unsigned seen = look(s, room, sight, first, key, false);
        inner(ds, room, g, first, v, key);
        slopes_of(s, ds, seen, room, drop, top, share, delta);
        if (slopes && column == 0)
            EVERY(i)
                EVERY(j)
                    if (first + y + i < sight.queries && key + x + j < sight.keys)
                        slopes[(head * sight.queries + first + y + i) * sight.keys + key + x + j] = ds[i][j];
        keep(room, ds, true);
        mix(sums, room, k, key, column);
    }
    store(dq, dq_step, sight.queries, q.columns, first, column, sums, scale);
}

__device__ __forceinline__ void backward_keys(Shared& room, const Sight& sight, const Drop& drop, Matrix q, Matrix k, Matrix v, Matrix g,
                              const REAL* tops, const REAL* totals, const REAL* deltas, REAL* dk, int dk_step, REAL* dv,
                              int dv_step, long long head, int key, int column) {
    int before = key - sight.behind > 0 ? (key - sight.behind) / TILE * TILE : 0;
    int y = EACH * (threadIdx.x / SIDE);
    Square s, ds, of_keys = {}, of_values = {};
    for (int first = before; first < sight.queries; first += TILE) {
        REAL top[EACH] = {}, share[EACH] = {}, delta[EACH] = {};
        EVERY(i)
            if (first + y + i < sight.queries) {
                long long row = head * sight.queries + first + y + i;
                top[i] = tops[row], share[i] = 1 / totals[row], delta[i] = deltas[row];
            }
        clear(room);
        if (drop.share) draw(room, drop, sight, head, first, key);
        inner(s, room, q, first, k, key);
        unsigned seen = look(s, room, sight, first, key, true);
        inner(ds, room, g, first, v, key);
        slopes_of(s, ds, seen, room, drop, top, share, delta);
        EVERY(i)
            EVERY(j) s[i][j] = dropped(s[i][j], room, drop, i, j);
        keep(room, s, false);
        mix(of_values, room, g, first, column);
        __syncthreads();
        keep(room, ds, false);
        mix(of_keys, room, q, first, column);
    }
    REAL scale[EACH], one[EACH];
    EVERY(i) scale[i] = sight.scale, one[i] = 1;
    store(dk, dk_step, sight.keys, k.columns, key, column, of_keys, scale);
    store(dv, dv_step, sight.keys, v.columns, key, column, of_values, one);
}

}  // namespace attention

// The kernels' common beginning. They take the same arguments under the same names, which is why it is a macro: x stands for an
// argument with its steps x_batch, x_head and x_row, b and h for the batch and the head of this block.
#define IN_HEAD(x) x + b * x##_batch + h * x##_head
#define MATRIX(x, rows, columns) {IN_HEAD(x), x##_row, rows, columns}
#define BEGIN(length)                                                                                                      \
    using namespace attention;                                                                                             \
    __shared__ Shared room;                                                                                                \
    int tiles = (length + TILE - 1) / TILE, tile = blockIdx.x % tiles, column = blockIdx.y * TILE;                         \
    long long head = blockIdx.x / tiles, b = head / heads, h = head % heads;                                               \
    Matrix of_q = MATRIX(q, queries, features), of_k = MATRIX(k, keys, features), of_v = MATRIX(v, keys, width);           \
    Sight sight = {mask ? IN_HEAD(mask) : mask, bias ? IN_HEAD(bias) : bias, mask_query, mask_key, bias_query, bias_key,   \
                   queries, keys, behind, scale};                                                                          \
    Drop drop = {key0, key1, counter + (shift ? *shift : 0), cut, share, factor}

// O, and the maximum and the sum of each row, (B H, T). A block takes a tile of queries of one head: the last, which sees most keys of
// a causal attention, first.
extern "C" __global__ __launch_bounds__(attention::THREADS, attention::BLOCKS) void attention_tiles(
    const REAL* q, const REAL* k, const REAL* v, REAL* o, REAL* tops, REAL* totals, const bool* mask, const REAL* bias,
    int heads, int queries, int keys, int features, int width, int behind, REAL scale,
    long long q_batch, long long q_head, int q_row, long long k_batch, long long k_head, int k_row,
    long long v_batch, long long v_head, int v_row, long long o_batch, long long o_head, int o_row,
    long long mask_batch, long long mask_head, int mask_query, int mask_key,
    long long bias_batch, long long bias_head, int bias_query, int bias_key,
    word key0, word key1, word counter, word cut, int share, REAL factor, const word* shift) {
    BEGIN(queries);
    forward(room, sight, drop, of_q, of_k, of_v, IN_HEAD(o), o_row, tops, totals, head, (tiles - 1 - tile) * TILE, column);
}

// dQ, and delta of each row; dS too, which is the gradient of the bias, if slopes (B H, T, S) is not null. Blocks as above.
extern "C" __global__ __launch_bounds__(attention::THREADS, attention::BLOCKS) void attention_tiles_queries(
    const REAL* q, const REAL* k, const REAL* v, const REAL* g, const REAL* o, REAL* dq, const REAL* tops,
    const REAL* totals, REAL* deltas, REAL* slopes, const bool* mask, const REAL* bias,
    int heads, int queries, int keys, int features, int width, int behind, REAL scale,
    long long q_batch, long long q_head, int q_row, long long k_batch, long long k_head, int k_row,
    long long v_batch, long long v_head, int v_row, long long g_batch, long long g_head, int g_row,
    long long o_batch, long long o_head, int o_row, long long dq_batch, long long dq_head, int dq_row,
    long long mask_batch, long long mask_head, int mask_query, int mask_key,
    long long bias_batch, long long bias_head, int bias_query, int bias_key,
    word key0, word key1, word counter, word cut, int share, REAL factor, const word* shift) {
    BEGIN(queries);
    Matrix of_g = MATRIX(g, queries, width), of_o = MATRIX(o, queries, width);
    backward_queries(room, sight, drop, of_q, of_k, of_v, of_g, of_o, tops, totals, deltas, IN_HEAD(dq), dq_row, slopes, head,
                     (tiles - 1 - tile) * TILE, column);
}

// dK and dV, given delta. A block takes a tile of keys of one head: the first, which most queries of a causal attention see, first.
extern "C" __global__ __launch_bounds__(attention::THREADS, attention::BLOCKS) void attention_tiles_keys(
    const REAL* q, const REAL* k, const REAL* v, const REAL* g, REAL* dk, REAL* dv, const REAL* tops,
    const REAL* totals, const REAL* deltas, const bool* mask, const REAL* bias,
    int heads, int queries, int keys, int features, int width, int behind, REAL scale,
    long long q_batch, long long q_head, int q_row, long long k_batch, long long k_head, int k_row,
    long long v_batch, long long v_head, int v_row, long long g_batch, long long g_head, int g_row,
    long long dk_batch, long long dk_head, int dk_row, long long dv_batch, long long dv_head, int dv_row,
    long long mask_batch, long long mask_head, int mask_query, int mask_key,
    long long bias_batch, long long bias_head, int bias_query, int bias_key,
    word key0, word key1, word counter, word cut, int share, REAL factor, const word* shift) {
    BEGIN(keys);
    Matrix of_g = MATRIX(g, queries, width);
    backward_keys(room, sight, drop, of_q, of_k, of_v, of_g, tops, totals, deltas, IN_HEAD(dk), dk_row, IN_HEAD(dv), dv_row, head,
                  tile * TILE, column);
}
