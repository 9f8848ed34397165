// All of attention for matrices so small that a library's products take longer to begin than to end.
//
// A matrix of scores stays in the nearest cache; of torch nothing is called in between. E is a multiple of the lanes.
#pragma once
#include "attention.h"

// Scores of a matrix, keys and values turned over: this many numbers at most each.
static constexpr Index SMALL = 64 * 64;

// C (rows, L * vectors) = A B: A's element of row r and column k at r * down + k * along, B's rows ldb apart, C's ldc.
template <class T>
INLINE void product(const T* A, Index down, Index along, const T* B, Index ldb, T* C, Index ldc, Index rows, Index inner,
                    Index vectors) {
    const Index L = Lanes<T>::count;
    for (Index j = 0; j < vectors; j++)
        for (Index r = 0; r < rows; r += 8) {
            // Eight rows at once, so that no sum waits for itself; beyond the last, the last again.
            const T* at[8];
            VECTOR sums[8];
            for (int i = 0; i < 8; i++) at[i] = A + (r + i < rows ? r + i : rows - 1) * down, sums[i] = VECTOR{};
            for (Index k = 0; k < inner; k++) {
                VECTOR b = load<T>(B + k * ldb + j * L);
                for (int i = 0; i < 8; i++) sums[i] += at[i][k * along] * b;
            }
            for (int i = 0; i < 8 && r + i < rows; i++) store<T>(C + (r + i) * ldc + j * L, sums[i]);
        }
}

// (rows, columns) to (columns, stride), 0 beyond the rows.
template <class T> INLINE void turn_over(const T* from, T* to, Index rows, Index columns, Index stride) {
    for (Index c = 0; c < columns; c++)
        for (Index r = 0; r < stride; r++) to[c * stride + r] = r < rows ? from[r * columns + c] : 0;
}

// q, out (matrices, N, E), k, v (matrices, M, E), lse (matrices, N); the tile's rows are all of N.
template <class T, int N>
static void small_forward(const T* coefficients, Mask<T> mask, const uint8_t* kept, const T* q, const T* k, const T* v, Index E,
                          T* out, T* lse, Tile tile) {
    const Index L = Lanes<T>::count, M = tile.M, stride = (M + L - 1) / L * L;
#pragma omp parallel for num_threads(tile.threads) schedule(static)
    for (Index matrix = 0; matrix < tile.matrices; matrix++) {
        T scores[SMALL + 64 * 16], keys[SMALL + 64 * 16];
        Series<T, N> series(coefficients + matrix % tile.heads % tile.sets * 2 * tile.J, tile.J, tile.first);
        turn_over<T>(k + matrix * M * E, keys, M, E, stride);
        product<T>(q + matrix * tile.N * E, E, 1, keys, stride, scores, stride, tile.N, E, stride / L);
        for (Index row = 0; row < tile.N; row += GROUP)
            group_forward<T, N>(series, mask, kept, scores + row * stride, stride, lse, matrix, row,
                                tile.N - row < GROUP ? tile.N - row : GROUP, tile);
        product<T>(scores, stride, 1, v + matrix * M * E, E, out + matrix * tile.N * E, E, tile.N, M, E / L);
    }
}

// above (matrices, N, E): the gradient to the output; grad_q, grad_k, grad_v as q, k, v; partial as in attention_backward.
template <class T, int N>
static void small_backward(const T* coefficients, Mask<T> mask, const uint8_t* kept, const T* q, const T* k, const T* v, Index E,
                           const T* out, const T* lse, const T* above, T* grad_q, T* grad_k, T* grad_v, double* partial,
                           Tile tile) {
    const Index L = Lanes<T>::count, M = tile.M, stride = (M + L - 1) / L * L, groups = (tile.N + GROUP - 1) / GROUP;
#pragma omp parallel for num_threads(tile.threads) schedule(static)
    for (Index matrix = 0; matrix < tile.matrices; matrix++) {
        T scores[SMALL + 64 * 16], grads[SMALL + 64 * 16], turned[SMALL + 64 * 16];
        Series<T, N> series(coefficients + matrix % tile.heads % tile.sets * 2 * tile.J, tile.J, tile.first);
        const Index queries = matrix * tile.N * E, pairs = matrix * M * E;
        turn_over<T>(k + pairs, turned, M, E, stride);
        product<T>(q + queries, E, 1, turned, stride, scores, stride, tile.N, E, stride / L);
        turn_over<T>(v + pairs, turned, M, E, stride);
        product<T>(above + queries, E, 1, turned, stride, grads, stride, tile.N, E, stride / L);
        for (Index row = 0; row < tile.N; row += GROUP)
            group_backward<T, N>(series, mask, kept, lse, out, above, E, scores + row * stride, grads + row * stride, stride,
                                 partial + (matrix * groups + row / GROUP) * 2 * tile.J, matrix, row,
                                 tile.N - row < GROUP ? tile.N - row : GROUP, tile);
        product<T>(grads, stride, 1, k + pairs, E, grad_q + queries, E, tile.N, M, E / L);
        product<T>(grads, 1, stride, q + queries, E, grad_k + pairs, E, M, tile.N, E / L);
        product<T>(scores, 1, stride, above + queries, E, grad_v + pairs, E, M, tile.N, E / L);
    }
}
