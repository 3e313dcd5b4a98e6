// out[id] += sum of values[order[k]] over the run of equal ids, added from the first to the last. One block a place k in the sorted
// ids; the block at the start of a run does the run.
extern "C" __global__ void segment_sum(REAL* out, const REAL* values, const long long* ids, const long long* order,
                                       long long count, long long rows, long long width) {
    long long first = blockIdx.x, id = ids[first];
    if (id < 0 || id >= rows || (first > 0 && ids[first - 1] == id)) return;
    FOR_ROW(j) {
        REAL sum = out[id * width + j];
        for (long long k = first; k < count && ids[k] == id; k++) sum += values[order[k] * width + j];
        out[id * width + j] = sum;
    }
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
