// Between the two matrix products of attention: scores to weights, and back to gradients of scores.
//
// A tile holds the scores s = Q K^T of some rows against all M keys, a product of torch's: (matrices, rows, M), where matrix i
// is of head i % heads in batch i / heads. Logits are s * scale + Phi(s * scale_in) + mask, weights their softmax.
#pragma once
#include "series.h"

// What is added to the logits, by strides: of batch, head, row and key; null: nothing.
template <class T> struct Mask {
    const T* data;
    Index stride[4];
};

// Rows first_row ... of matrices first_matrix ..., of tensors with N rows to a matrix.
struct Tile {
    Index first_matrix, matrices, first_row, rows, N, M;
    Index heads, sets;  // of coefficients: one per head, or one
    int J, first, threads;
    double scale, scale_in, keep_scale;
};

// Sums in T go over so many rows of a matrix and no further, whatever the tiles and the threads.
static constexpr Index GROUP = 8;

template <class T> INLINE const T* mask_row(const Mask<T>& mask, const Tile& tile, Index matrix, Index n) {
    return mask.data + matrix / tile.heads * mask.stride[0] + matrix % tile.heads * mask.stride[1] + n * mask.stride[2];
}

template <class T> INLINE VECTOR mask_at(const T* from, Index stride, Index m, Index count) {
    if (stride == 1) return count < Lanes<T>::count ? load_part<T>(from + m, count, 0) : load<T>(from + m);
    VECTOR v = VECTOR{};
    for (Index i = 0; i < count; i++) v[i] = from[(m + i) * stride];
    return v;
}

// Scores of a group of rows to weights in place; s is its first row. kept: of each weight whether dropout keeps it,
// (matrices, N, M), or null; those kept are times keep_scale. lse (matrices, N): the logarithm of the softmax's denominator,
// +inf where all of a row is masked.
template <class T, int N>
INLINE void group_forward(const Series<T, N>& series, const Mask<T>& mask, const uint8_t* kept, T* scores, Index stride, T* lse,
                          Index matrix, Index first_n, Index rows, const Tile& tile) {
    const Index L = Lanes<T>::count, M = tile.M, first_row = matrix * tile.N + first_n;
    const T scale = tile.scale, scale_in = tile.scale_in, keep_scale = tile.keep_scale;
    VECTOR most[GROUP], total[GROUP];
    // A loop over rows for each part, so that a short row need not wait for the end of the one before.
    for (Index r = 0; r < rows; r++) {
        T* s = scores + r * stride;
        const T* masked = mask.data ? mask_row(mask, tile, matrix, first_n + r) : nullptr;
        most[r] = splat<T>(-INFINITY);
        for (Index m = 0; m < M; m += L) {
            Index count = M - m < L ? M - m : L;
            VECTOR score = count < L ? load_part<T>(s + m, count, 0) : load<T>(s + m);
            VECTOR logit = score * scale + Series<T, N>::value(series, score * scale_in);
            if (masked) logit += mask_at<T>(masked, mask.stride[3], m, count);
            if (count < L) {
                for (Index i = count; i < L; i++) logit[i] = -INFINITY;
                store_part<T>(s + m, logit, count);
            } else
                store<T>(s + m, logit);
            most[r] = logit > most[r] ? logit : most[r];
        }
    }
    for (Index r = 0; r < rows; r++) {
        T *s = scores + r * stride, top = largest<T>(most[r]);
        if (top == -INFINITY) {
            // Masked throughout, unless something is not a number, which no comparison finds.
            bool clean = true;
            for (Index m = 0; m < M; m++) clean &= s[m] == s[m];
            if (clean) top = 0;
        }
        total[r] = VECTOR{};
        for (Index m = 0; m < M; m += L) {
            Index count = M - m < L ? M - m : L;
            VECTOR weight = exponential<T>((count < L ? load_part<T>(s + m, count, -INFINITY) : load<T>(s + m)) - top);
            total[r] += weight;
            count < L ? store_part<T>(s + m, weight, count) : store<T>(s + m, weight);
        }
        lse[first_row + r] = top;
    }
    for (Index r = 0; r < rows; r++) {
        T *s = scores + r * stride, denominator = sum<T>(total[r]), share = denominator == 0 ? 0 : 1 / denominator;
        lse[first_row + r] = denominator == 0 ? T(INFINITY) : lse[first_row + r] + std::log(denominator);
        if (kept != nullptr) {
            const uint8_t* keep = kept + (first_row + r) * M;
            for (Index m = 0; m < M; m++) s[m] = keep[m] ? s[m] * share * keep_scale : 0;
            continue;
        }
        for (Index m = 0; m < M; m += L) {
            if (M - m < L)
                store_part<T>(s + m, load_part<T>(s + m, M - m, 0) * share, M - m);
            else
                store<T>(s + m, load<T>(s + m) * share);
        }
    }
}

template <class T, int N>
static void attention_forward(const T* coefficients, Mask<T> mask, const uint8_t* kept, T* scores, T* lse, Tile tile) {
    // Long rows one by one, within the nearest cache.
    const Index size = tile.M > 512 ? 1 : GROUP, groups = (tile.rows + size - 1) / size;
#pragma omp parallel for num_threads(tile.threads) schedule(static)
    for (Index index = 0; index < tile.matrices * groups; index++) {
        Index matrix = tile.first_matrix + index / groups, row = index % groups * size;
        Series<T, N> series(coefficients + matrix % tile.heads % tile.sets * 2 * tile.J, tile.J, tile.first);
        group_forward<T, N>(series, mask, kept, scores + (index / groups * tile.rows + row) * tile.M, tile.M, lse, matrix,
                            tile.first_row + row, tile.rows - row < size ? tile.rows - row : size, tile);
    }
}

// Of a group of rows, from the scores again, and the gradients to the weights: weights (dropped ones 0) in place of the scores,
// gradients to the scores in place of those to the weights. out and above_out (matrices, N, E): the output and the gradient to
// it, whose product is for each row the sum over keys of weight times its gradient (Dao et al. 2022, arXiv 2205.14135, eq. 4).
// partial (2J): gradients to the coefficients.
template <class T, int N>
INLINE void group_backward(const Series<T, N>& series, const Mask<T>& mask, const uint8_t* kept, const T* lse, const T* out,
                           const T* above_out, Index E, T* scores, T* grads, Index stride, double* partial, Index matrix,
                           Index first_n, Index rows, const Tile& tile) {
    const Index L = Lanes<T>::count, M = tile.M;
    const T scale = tile.scale, scale_in = tile.scale_in, keep_scale = tile.keep_scale;
    const int J = N ? N : tile.J;
    VECTOR C[N ? N : MOST], S[N ? N : MOST], sums_c[N ? N : MOST], sums_s[N ? N : MOST];
    for (int j = 0; j < J; j++) sums_c[j] = sums_s[j] = VECTOR{};
    for (Index r = 0; r < rows; r++) {
        Index n = first_n + r, row = matrix * tile.N + n;
        T *s = scores + r * stride, *g = grads + r * stride, delta = 0;
        const T* masked = mask.data ? mask_row(mask, tile, matrix, n) : nullptr;
#pragma omp simd reduction(+ : delta)
        for (Index e = 0; e < E; e++) delta += out[row * E + e] * above_out[row * E + e];
        for (Index m = 0; m < M; m += L) {
            Index count = M - m < L ? M - m : L;
            VECTOR score = count < L ? load_part<T>(s + m, count, 0) : load<T>(s + m);
            VECTOR above = count < L ? load_part<T>(g + m, count, 0) : load<T>(g + m);
            VECTOR value, slope;
            Series<T, N>::all(series, score * scale_in, value, slope, C, S);
            VECTOR logit = score * scale + value;
            if (masked) logit += mask_at<T>(masked, mask.stride[3], m, count);
            // Of rounding alone may a logit be above its row's.
            VECTOR below = logit - lse[row];
            VECTOR weight = exponential<T>(below > 0 ? VECTOR{} : below), given = weight;
            if (kept) {
                VECTOR keep = VECTOR{};
                for (Index i = 0; i < count; i++) keep[i] = kept[row * M + m + i] ? keep_scale : T(0);
                given *= keep, above *= keep;
            }
            if (count < L)
                for (Index i = count; i < L; i++) weight[i] = 0;
            VECTOR logit_grad = weight * (above - delta);
            for (int j = 0; j < J; j++) sums_c[j] += logit_grad * C[j], sums_s[j] += logit_grad * S[j];
            VECTOR score_grad = logit_grad * (scale + scale_in * slope);
            count < L ? store_part<T>(s + m, given, count) : store<T>(s + m, given);
            count < L ? store_part<T>(g + m, score_grad, count) : store<T>(g + m, score_grad);
        }
    }
    for (int j = 0; j < J; j++) partial[j] = sum<T>(sums_c[j]), partial[J + j] = sum<T>(sums_s[j]);
}

// partial (matrices, N / GROUP rounded up, 2J).
template <class T, int N>
static void attention_backward(const T* coefficients, Mask<T> mask, const uint8_t* kept, const T* lse, const T* out,
                               const T* above_out, Index E, T* scores, T* grads, double* partial, Tile tile) {
    const Index groups = (tile.rows + GROUP - 1) / GROUP, all_groups = (tile.N + GROUP - 1) / GROUP;
#pragma omp parallel for num_threads(tile.threads) schedule(static)
    for (Index index = 0; index < tile.matrices * groups; index++) {
        Index matrix = tile.first_matrix + index / groups, row = index % groups * GROUP;
        Index place = (index / groups * tile.rows + row) * tile.M;
        Series<T, N> series(coefficients + matrix % tile.heads % tile.sets * 2 * tile.J, tile.J, tile.first);
        group_backward<T, N>(series, mask, kept, lse, out, above_out, E, scores + place, grads + place, tile.M,
                             partial + (matrix * all_groups + (tile.first_row + row) / GROUP) * 2 * tile.J, matrix,
                             tile.first_row + row, tile.rows - row < GROUP ? tile.rows - row : GROUP, tile);
    }
}

// The groups of each set of coefficients, in their order: (sets, 2J).
template <class T> static void attention_sums(const double* partial, T* grad, Index matrices, Index groups, const Tile& tile) {
    const Index count = 2 * tile.J;
    double total[2 * MOST];
    for (Index set = 0; set < tile.sets; set++) {
        for (Index i = 0; i < count; i++) total[i] = 0;
        for (Index matrix = 0; matrix < matrices; matrix++) {
            if (matrix % tile.heads % tile.sets != set) continue;
            for (Index g = matrix * groups; g < (matrix + 1) * groups; g++)
                for (Index i = 0; i < count; i++) total[i] += partial[g * count + i];
        }
        for (Index i = 0; i < count; i++) grad[set * count + i] = total[i];
    }
}
