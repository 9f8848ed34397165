// sum_j alpha_j cos(w_j x) + beta_j sin(w_j x): values, derivatives, and sums over scores of g cos(w_j x), g sin(w_j x).
//
// J frequencies, the lowest 0 (first = 0) or 1/2 (first = 1), the others following in steps of 1. A score's cosines and sines
// come from one sine and one cosine by turning: e^{i w_j x} = e^{i w_{j-1} x} e^{ix}.
#pragma once
#include "vector.h"

// As many as any circuit of 24 encoding gates has as <Z>; more are torch's.
static constexpr int MOST = 64;

// e^{ix} as (c1, s1), and the lowest frequency as (c, s).
template <class T> INLINE void turns(VECTOR x, int first, VECTOR& c1, VECTOR& s1, VECTOR& c, VECTOR& s) {
    if (first) {
        sincos<T>(x * T(0.5), s, c);
        s1 = 2 * s * c, c1 = (c - s) * (c + s);
    } else {
        sincos<T>(x, s1, c1);
        c = splat<T>(1), s = VECTOR{};
    }
}

// Coefficients (2, J) of one series. N = J where it is known to the compiler, 0 elsewhere.
template <class T, int N> struct Series {
    int count, first;
    const T *alpha, *beta;
    T frequency[N ? N : MOST];

    Series(const T* coefficients, int J, int first) : count(N ? N : J), first(first) {
        alpha = coefficients, beta = coefficients + count;
        for (int j = 0; j < count; j++) frequency[j] = j + T(0.5) * first;
    }

    INLINE int terms(const Series& s) { return N ? N : s.count; }

    INLINE VECTOR value(const Series& self, VECTOR x) {
        VECTOR c1, s1, c, s;
        turns<T>(x, self.first, c1, s1, c, s);
        // Horner's rule in u + iv, highest frequency first: the real part of sum_j (alpha_j - i beta_j) e^{i w_j x}.
        int top = terms(self) - 1;
        VECTOR u = splat<T>(self.alpha[top]), v = splat<T>(-self.beta[top]);
        for (int j = top - 1; j >= 0; j--) {
            VECTOR next = self.alpha[j] + u * c1 - v * s1;
            v = u * s1 + v * c1 - self.beta[j];
            u = next;
        }
        return self.first ? u * c - v * s : u;
    }

    // The value and the derivative; every cosine and sine into C and S.
    INLINE void all(const Series& self, VECTOR x, VECTOR& value, VECTOR& slope, VECTOR* C, VECTOR* S) {
        VECTOR c1, s1;
        turns<T>(x, self.first, c1, s1, C[0], S[0]);
        value = self.alpha[0] * C[0] + self.beta[0] * S[0];
        slope = self.frequency[0] * (self.beta[0] * C[0] - self.alpha[0] * S[0]);
        for (int j = 1; j < terms(self); j++) {
            C[j] = C[j - 1] * c1 - S[j - 1] * s1;
            S[j] = C[j - 1] * s1 + S[j - 1] * c1;
            value += self.alpha[j] * C[j] + self.beta[j] * S[j];
            slope += self.frequency[j] * (self.beta[j] * C[j] - self.alpha[j] * S[j]);
        }
    }
};

// Calls `f<N>` with the number of terms as a constant where it is a usual one.
#define WITH_TERMS(J, call)                                  \
    switch (J) {                                             \
        case 3: { constexpr int N = 3; call; } break;        \
        case 5: { constexpr int N = 5; call; } break;        \
        case 7: { constexpr int N = 7; call; } break;        \
        case 9: { constexpr int N = 9; call; } break;        \
        default: { constexpr int N = 0; call; }              \
    }

// A block's scores; sums of a block are in T, sums of blocks in double, so that results do not depend on the threads.
static constexpr Index BLOCK = 2048;

template <class T, int N>
static void series_forward(const T* coefficients, const T* x, T* out, Index H, Index length, int J, int first, int threads) {
    Index blocks = (length + BLOCK - 1) / BLOCK;
#pragma omp parallel for collapse(2) num_threads(threads) schedule(static)
    for (Index h = 0; h < H; h++)
        for (Index b = 0; b < blocks; b++) {
            Series<T, N> series(coefficients + h * 2 * J, J, first);
            Index end = (b + 1) * BLOCK < length ? (b + 1) * BLOCK : length, i = b * BLOCK;
            const T* from = x + h * length;
            T* to = out + h * length;
            for (; i + Lanes<T>::count <= end; i += Lanes<T>::count)
                store<T>(to + i, Series<T, N>::value(series, load<T>(from + i)));
            if (i < end) store_part<T>(to + i, Series<T, N>::value(series, load_part<T>(from + i, end - i, 0)), end - i);
        }
}

// Gradients to x (or null) and to the coefficients, (H, 2, J) in double, from g; `partial` holds 2J doubles a block.
template <class T, int N>
static void series_backward(const T* coefficients, const T* x, const T* g, T* grad_x, double* grad_coefficients,
                            double* partial, Index H, Index length, int J, int first, int threads) {
    Index blocks = (length + BLOCK - 1) / BLOCK;
#pragma omp parallel for collapse(2) num_threads(threads) schedule(static)
    for (Index h = 0; h < H; h++)
        for (Index b = 0; b < blocks; b++) {
            Series<T, N> series(coefficients + h * 2 * J, J, first);
            VECTOR C[N ? N : MOST], S[N ? N : MOST], sums_c[N ? N : MOST], sums_s[N ? N : MOST];
            for (int j = 0; j < (N ? N : J); j++) sums_c[j] = sums_s[j] = VECTOR{};
            Index end = (b + 1) * BLOCK < length ? (b + 1) * BLOCK : length;
            for (Index i = b * BLOCK; i < end; i += Lanes<T>::count) {
                bool part = i + Lanes<T>::count > end;
                const T *xs = x + h * length + i, *gs = g + h * length + i;
                VECTOR value, slope, at = part ? load_part<T>(xs, end - i, 0) : load<T>(xs);
                VECTOR above = part ? load_part<T>(gs, end - i, 0) : load<T>(gs);
                Series<T, N>::all(series, at, value, slope, C, S);
                for (int j = 0; j < (N ? N : J); j++) sums_c[j] += above * C[j], sums_s[j] += above * S[j];
                if (grad_x == nullptr) continue;
                T* to = grad_x + h * length + i;
                part ? store_part<T>(to, above * slope, end - i) : store<T>(to, above * slope);
            }
            double* mine = partial + (h * blocks + b) * 2 * J;
            for (int j = 0; j < J; j++) mine[j] = sum<T>(sums_c[j]), mine[J + j] = sum<T>(sums_s[j]);
        }
    for (Index h = 0; h < H; h++)
        for (Index b = 0; b < blocks; b++)
            for (int j = 0; j < 2 * J; j++) grad_coefficients[h * 2 * J + j] += partial[(h * blocks + b) * 2 * J + j];
}
