// What do sine, cosine and exponential cost? Little: some 20 operations for a register full of numbers.
//
// Vectors by GCC's and Clang's extension. Coefficients of the polynomials are those of Cephes (S. Moshier), in float and in
// double.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#ifdef __AVX__
#include <immintrin.h>
#endif

// Bytes of a vector: as many as a register has, for a compiler makes little of larger ones.
#if defined(__AVX512F__)
#define WIDTH 64
#elif defined(__AVX__)
#define WIDTH 32
#else
#define WIDTH 16
#endif

typedef int64_t Index;

template <class T> struct Lanes;

template <> struct Lanes<float> {
    typedef float vector __attribute__((vector_size(WIDTH)));
    typedef int32_t bits __attribute__((vector_size(WIDTH)));
    static constexpr int count = WIDTH / 4, mantissa = 23, bias = 127;
    // Added and taken away again, it rounds to the nearest integer, which then stands in the lowest bits.
    static constexpr float magic = 12582912.0f;
    // pi/2 in three parts, of which the first two have so few digits that products with 13-bit integers are exact.
    static constexpr float half_pi[3] = {1.5703125f, 4.837512969970703125e-4f, 7.54978995489188216e-8f};
    // Up to here sine and cosine are within 1.5e-7 of the true ones; beyond, libm's are taken.
    static constexpr float reducible = 1.2e4f;
    static constexpr float sine[3] = {-1.9515295891e-4f, 8.3321608736e-3f, -1.6666654611e-1f};
    static constexpr float cosine[3] = {2.443315711809948e-5f, -1.388731625493765e-3f, 4.166664568298827e-2f};
    static constexpr float ln2[2] = {0.693359375f, -2.12194440e-4f};
    static constexpr float exponential[6] = {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f,
                                             4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};
    static constexpr float underflow = -87.0f;
};

template <> struct Lanes<double> {
    typedef double vector __attribute__((vector_size(WIDTH)));
    typedef int64_t bits __attribute__((vector_size(WIDTH)));
    static constexpr int count = WIDTH / 8, mantissa = 52, bias = 1023;
    static constexpr double magic = 6755399441055744.0;
    static constexpr double half_pi[3] = {1.57079625129699707031, 7.54978941586159635336e-8, 5.390302858158118e-15};
    static constexpr double reducible = 1e6;
    static constexpr double sine[6] = {1.58962301576546568060e-10, -2.50507477628578072866e-8, 2.75573136213857245213e-6,
                                       -1.98412698295895385996e-4, 8.33333333332211858878e-3,  -1.66666666666666307295e-1};
    static constexpr double cosine[6] = {-1.13585365213876817300e-11, 2.08757008419747316778e-9, -2.75573141792967388112e-7,
                                         2.48015872888517045348e-5,   -1.38888888888730564116e-3, 4.16666666666665929218e-2};
    static constexpr double ln2[2] = {6.93145751953125e-1, 1.42860682030941723212e-6};
    // Taylor's, to the power that double needs on [-ln(2)/2, ln(2)/2].
    static constexpr double exponential[11] = {1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880,
                                               1.0 / 40320,     1.0 / 5040,     1.0 / 720,     1.0 / 120,
                                               1.0 / 24,        1.0 / 6,        0.5};
    static constexpr double underflow = -708.0;
};

#define VECTOR typename Lanes<T>::vector
#define BITS typename Lanes<T>::bits
#define INLINE static inline __attribute__((always_inline))

template <class T> INLINE VECTOR load(const T* from) {
    VECTOR v;
    std::memcpy(&v, from, sizeof v);
    return v;
}

template <class T> INLINE void store(T* to, VECTOR v) { std::memcpy(to, &v, sizeof v); }

// The first `count` lanes; the rest is `fill`.
template <class T> INLINE VECTOR load_part(const T* from, Index count, T fill) {
    VECTOR v = fill - VECTOR{};
    std::memcpy(&v, from, count * sizeof(T));
    return v;
}

template <class T> INLINE void store_part(T* to, VECTOR v, Index count) { std::memcpy(to, &v, count * sizeof(T)); }

template <class T> INLINE VECTOR splat(T x) { return x - VECTOR{}; }

// By halves, down to 16 bytes; those one by one.
template <class T, int bytes, class F> INLINE T folded(const void* lanes, F join) {
    typedef T half __attribute__((vector_size(bytes / 2)));
    half low, high;
    std::memcpy(&low, lanes, bytes / 2), std::memcpy(&high, (const char*)lanes + bytes / 2, bytes / 2);
    low = join(low, high);
    if constexpr (bytes > 32)
        return folded<T, bytes / 2>(&low, join);
    else {
        T found = low[0];
        for (int i = 1; i < int(bytes / 2 / sizeof(T)); i++) found = join(found, low[i]);
        return found;
    }
}

template <class T> INLINE T sum(VECTOR v) {
    return folded<T, WIDTH>(&v, [](auto a, auto b) { return a + b; });
}

template <class T> INLINE T largest(VECTOR v) {
    return folded<T, WIDTH>(&v, [](auto a, auto b) { return a > b ? a : b; });
}

// Whether any lane is not within (-limit, limit), or not a number.
template <class T> INLINE bool beyond(VECTOR x, T limit) {
#ifdef __AVX512F__
    // One comparison and one jump; of what stands below, the compiler makes a dozen operations.
    if constexpr (sizeof(T) == 4)
        return _mm512_cmp_ps_mask(_mm512_abs_ps((__m512)x), _mm512_set1_ps(limit), _CMP_NLT_UQ) != 0;
    else
        return _mm512_cmp_pd_mask(_mm512_abs_pd((__m512d)x), _mm512_set1_pd(limit), _CMP_NLT_UQ) != 0;
#else
    BITS mask = ~((x < limit) & (x > -limit));
    int64_t words[WIDTH / 8], found = 0;
    std::memcpy(words, &mask, sizeof mask);
    for (int i = 0; i < WIDTH / 8; i++) found |= words[i];
    return found != 0;
#endif
}

template <class T, int N> INLINE VECTOR polynomial(const T (&coefficients)[N], VECTOR x) {
    VECTOR p = splat<T>(coefficients[0]);
    for (int i = 1; i < N; i++) p = p * x + coefficients[i];
    return p;
}

template <class T> INLINE VECTOR root(VECTOR x) {
#ifdef __AVX512F__
    if constexpr (sizeof(T) == 4)
        return (VECTOR)_mm512_sqrt_ps((__m512)x);
    else
        return (VECTOR)_mm512_sqrt_pd((__m512d)x);
#elif defined(__AVX__)
    if constexpr (sizeof(T) == 4)
        return (VECTOR)_mm256_sqrt_ps((__m256)x);
    else
        return (VECTOR)_mm256_sqrt_pd((__m256d)x);
#else
    for (int i = 0; i < Lanes<T>::count; i++) x[i] = std::sqrt(x[i]);
    return x;
#endif
}

// To the nearest integer; one that is halfway, to the even one.
template <class T> INLINE VECTOR nearest(VECTOR x) {
    // From here on every number is one, or no number.
    if (__builtin_expect(beyond<T>(x, Lanes<T>::magic / 3), 0)) {
        for (int i = 0; i < Lanes<T>::count; i++) x[i] = std::rint(x[i]);
        return x;
    }
    return (x + Lanes<T>::magic) - Lanes<T>::magic;
}

// Of r in [-pi/4, pi/4] beyond `quadrants` quarter turns.
template <class T> INLINE void sincos_within(VECTOR r, BITS quadrants, VECTOR& sine, VECTOR& cosine) {
    typedef Lanes<T> L;
    VECTOR z = r * r;
    VECTOR s = r + r * z * polynomial<T>(L::sine, z), c = 1 - T(0.5) * z + z * z * polynomial<T>(L::cosine, z);
    BITS swapped = (quadrants & 1) != 0;
    VECTOR a = swapped ? c : s, b = swapped ? s : c;
    sine = (quadrants & 2) != 0 ? -a : a;
    cosine = ((quadrants + 1) & 2) != 0 ? -b : b;
}

template <class T> __attribute__((noinline)) static void sincos_by_libm(VECTOR x, VECTOR& sine, VECTOR& cosine) {
    for (int i = 0; i < Lanes<T>::count; i++) sine[i] = std::sin((double)x[i]), cosine[i] = std::cos((double)x[i]);
}

template <class T> INLINE void sincos(VECTOR x, VECTOR& sine, VECTOR& cosine) {
    typedef Lanes<T> L;
    if (__builtin_expect(beyond<T>(x, L::reducible), 0)) return sincos_by_libm<T>(x, sine, cosine);
    VECTOR t = x * T(0.63661977236758134308) + L::magic;
    BITS quadrants;
    std::memcpy(&quadrants, &t, sizeof t);
    VECTOR k = t - L::magic;
    VECTOR r = ((x - k * L::half_pi[0]) - k * L::half_pi[1]) - k * L::half_pi[2];
    sincos_within<T>(r, quadrants, sine, cosine);
}

// Of x <= 0; below what the smallest normal number is the exponential of, 0.
template <class T> INLINE VECTOR exponential(VECTOR x) {
    typedef Lanes<T> L;
    BITS vanishes = x < L::underflow;
    x = vanishes ? splat<T>(L::underflow) : x;
    VECTOR t = x * T(1.44269504088896340736) + L::magic, n = t - L::magic;
    VECTOR r = (x - n * L::ln2[0]) - n * L::ln2[1];
    VECTOR p = 1 + r + r * r * polynomial<T>(L::exponential, r);
    BITS power;
    std::memcpy(&power, &t, sizeof t);
    power = (power + L::bias) << L::mantissa;
    VECTOR scale;
    std::memcpy(&scale, &power, sizeof scale);
    return vanishes ? VECTOR{} : p * scale;
}

// sin(pi theta) of any finite theta: theta - 2 round(theta / 2) is exact, and so is what is left of half a turn.
template <class T> INLINE VECTOR sine_of_turns(VECTOR theta) {
    VECTOR r = theta - 2 * nearest<T>(theta * T(0.5)), t = 2 * r + Lanes<T>::magic, k = t - Lanes<T>::magic, sine, cosine;
    BITS quadrants;
    std::memcpy(&quadrants, &t, sizeof t);
    sincos_within<T>((r - k * T(0.5)) * T(3.14159265358979323846), quadrants, sine, cosine);
    return sine;
}
