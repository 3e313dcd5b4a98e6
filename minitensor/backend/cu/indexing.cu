// out[id] += sum of values[order[k]] over the run of equal ids, which are sorted. The ids are cut into pieces; a group of `columns`
// threads, a power of two, takes one piece and as many columns. A run within a piece is added to out; of one that goes beyond it
// the part in this piece is left in parts[piece], (2, width): that of a run which began before, and that of one which begins here.
extern "C" __global__ void segment_pieces(REAL* out, REAL* parts, const REAL* values, const long long* ids, const long long* order,
                                          long long count, long long rows, long long width, int piece, int columns) {
    long long strips = (width + columns - 1) / columns, j = blockIdx.x % strips * columns + threadIdx.x % columns;
    long long number = blockIdx.x / strips * (blockDim.x / columns) + threadIdx.x / columns;
    long long first = number * piece, last = first + piece < count ? first + piece : count;
    if (first >= count || j >= width) return;
    long long id = ids[first];
    bool begun = first > 0 && ids[first - 1] == id;
    REAL sum = 0;
    for (long long start = first; start < last; start += 8) {
        REAL held[8];  // read together: eight reads are under way at once
        long long next[8];
        for (int k = 0; k < 8; k++) {
            bool within = start + k < last;
            next[k] = within ? ids[start + k] : 0;
            held[k] = within ? values[order[start + k] * width + j] : 0;
        }
        for (int k = 0; k < 8 && start + k < last; k++) {
            if (next[k] != id) {
                if (begun)
                    parts[2 * number * width + j] = sum;
                else if (id >= 0 && id < rows)
                    out[id * width + j] += sum;
                begun = false;
                id = next[k];
                sum = 0;
            }
            sum += held[k];
        }
    }
    if (begun)
        parts[2 * number * width + j] = sum;
    else if (last < count && ids[last] == id)
        parts[(2 * number + 1) * width + j] = sum;
    else if (id >= 0 && id < rows)
        out[id * width + j] += sum;
}

// Adds up the parts of each run that goes beyond a piece. One block a piece and `columns` columns; that of the piece where a run
// begins does the run, its lanes every so manieth piece of it.
extern "C" __global__ void segment_joins(REAL* out, const REAL* parts, const long long* ids, long long count, long long rows,
                                         long long width, int piece, int columns) {
    long long strips = (width + columns - 1) / columns, j = blockIdx.x % strips * columns + threadIdx.x % columns;
    long long number = blockIdx.x / strips, end = (number + 1) * piece;
    if (end >= count) return;
    long long id = ids[end];
    if (ids[end - 1] != id || id < 0 || id >= rows || (number > 0 && ids[end - piece - 1] == id)) return;
    long long low = number + 1, high = (count + piece - 1) / piece;  // the last piece that begins with id is in [low, high)
    while (high - low > 1) {
        long long middle = (low + high) / 2;
        if (ids[middle * piece] == id)
            low = middle;
        else
            high = middle;
    }
    REAL sum = 0;
    if (j < width)
        for (long long k = number + threadIdx.x / columns; k <= low; k += blockDim.x / columns)
            sum += parts[(2 * k + (k == number)) * width + j];
    sum = lane_sum(sum, columns);
    if (threadIdx.x < columns && j < width) out[id * width + j] += sum;
}

// fault = (whether any was found, label of the check, the id), noted on the GPU and looked at by the host when it reads a value
// back anyway, so that checking costs no wait. Of several, the first to arrive is told.
extern "C" __global__ void check_ids(const long long* ids, long long count, long long low, long long high, long long label,
                                     long long* fault) {
    long long i = THREAD;
    if (i >= count || (ids[i] >= low && ids[i] < high)) return;
    if (atomicCAS((word*)fault, 0ull, 1ull) == 0ull) {
        fault[1] = label;
        fault[2] = ids[i];
    }
}
