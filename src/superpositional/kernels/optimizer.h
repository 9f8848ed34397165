// AdamW with the term of every scalar in one pass, and what the term of a few scalars needs (Pamuk et al. 2025, eqs. 1 and 2).
//
// A pass over a tensor goes in chunks, whose sums are in T; sums of chunks are in double and do not depend on the threads.
#pragma once
#include "registers.h"

static constexpr Index CHUNK = 4096;

// sin(pi theta) of any finite theta: theta - 2 round(theta / 2) is exact, and so is what is left of half a turn.
template <class T> INLINE T sine_of_turns(T theta) {
    typedef Lanes<T> L;
    T r = theta - 2 * std::rint(theta * T(0.5)), k = std::rint(2 * r);
    int quadrants = (int)k;
    T y = (r - k * T(0.5)) * T(3.14159265358979323846), z = y * y;
    T s = L::sine[0], c = L::cosine[0];
    for (unsigned i = 1; i < sizeof L::sine / sizeof(T); i++) s = s * z + L::sine[i], c = c * z + L::cosine[i];
    s = y + y * z * s, c = 1 - T(0.5) * z + z * z * c;
    T found = quadrants & 1 ? c : s;
    return quadrants & 2 ? -found : found;
}

// One parameter of a group.
struct Parameter {
    void *theta, *grad, *m, *v, *v_max;  // v_max: null without amsgrad
    Index count;
    double bias_correction1, bias_correction2;
};

struct Group {
    double lr, beta1, beta2, eps, weight_decay, quantum_weight;
    int maximize, threads;
};

// nonzero gradients, changed scalars, and sums: of lambda Q squared, of the AdamW step squared, of its product with -lr lambda Q
enum { NONZERO, CHANGED, TERM, STEP, PRODUCT, NUMBERS };

template <class T> static void adamw_chunk(const Parameter& p, const Group& g, Index from, Index end, double* numbers) {
    T *theta = (T*)p.theta, *m = (T*)p.m, *v = (T*)p.v, *v_max = (T*)p.v_max;
    const T* grad = (const T*)p.grad;
    const T sign = g.maximize ? -1 : 1, beta2 = g.beta2, one_minus_beta1 = 1 - g.beta1, one_minus_beta2 = 1 - g.beta2;
    const T rate = g.lr / p.bias_correction1, root = std::sqrt(p.bias_correction2), eps = g.eps, lr = g.lr;
    const T decay = g.lr * g.weight_decay, weight = g.quantum_weight;
    int nonzero = 0, changed = 0;
    T term2 = 0, step2 = 0, product = 0;
#pragma omp simd reduction(+ : nonzero, changed, term2, step2, product)
    for (Index i = from; i < end; i++) {
        T before = theta[i], gradient = grad[i] * sign;
        nonzero += gradient != 0;
        T term = weight * (sine_of_turns<T>(before) * gradient);
        T first = m[i] + one_minus_beta1 * (gradient - m[i]);
        T second = v[i] * beta2 + one_minus_beta2 * gradient * gradient;
        m[i] = first, v[i] = second;
        if (v_max) second = v_max[i] = v_max[i] > second || v_max[i] != v_max[i] ? v_max[i] : second;
        T adam = rate * first / (std::sqrt(second) / root + eps);
        T stepped = before - decay * before - adam, delta = lr * term, after = stepped - delta;
        theta[i] = after;
        changed += after != stepped;
        T step = -adam - decay * before;
        term2 += term * term, step2 += step * step, product -= step * delta;
    }
    numbers[NONZERO] = nonzero, numbers[CHANGED] = changed, numbers[TERM] = term2, numbers[STEP] = step2;
    numbers[PRODUCT] = product;
}

// All chunks of all tensors, `numbers` one after another for each: (chunks, NUMBERS).
template <class T>
static void adamw(const Parameter* parameters, Index count, const Group* group, double* numbers, double* total) {
    Index first[count + 1];
    first[0] = 0;
    for (Index i = 0; i < count; i++) first[i + 1] = first[i] + (parameters[i].count + CHUNK - 1) / CHUNK;
#pragma omp parallel for num_threads(group->threads) schedule(static)
    for (Index chunk = 0; chunk < first[count]; chunk++) {
        Index low = 0, high = count;  // the tensor of this chunk
        while (high - low > 1) {
            Index middle = (low + high) / 2;
            (first[middle] <= chunk ? low : high) = middle;
        }
        Index from = (chunk - first[low]) * CHUNK, end = from + CHUNK;
        const Parameter& p = parameters[low];
        adamw_chunk<T>(p, *group, from, end < p.count ? end : p.count, numbers + chunk * NUMBERS);
    }
    for (int i = 0; i < NUMBERS; i++) total[i] = 0;
    for (Index chunk = 0; chunk < first[count]; chunk++)
        for (int i = 0; i < NUMBERS; i++) total[i] += numbers[chunk * NUMBERS + i];
}

// AdamW's own step of one tensor, worked out from the state after it: its sum of squares; the first `head` scalars into `steps`.
template <class T>
static double displacement(const Parameter& p, const Group& g, const T* second, Index head, T* steps, double* sums) {
    const T *theta = (const T*)p.theta, *m = (const T*)p.m;
    const T rate = g.lr / p.bias_correction1, root = std::sqrt(p.bias_correction2), eps = g.eps;
    const T decay = g.lr * g.weight_decay, kept = 1 - g.lr * g.weight_decay;
    Index chunks = (p.count + CHUNK - 1) / CHUNK;
#pragma omp parallel for num_threads(g.threads) schedule(static) if (chunks > 8)
    for (Index chunk = 0; chunk < chunks; chunk++) {
        Index end = (chunk + 1) * CHUNK < p.count ? (chunk + 1) * CHUNK : p.count;
        T squares = 0;
#pragma omp simd reduction(+ : squares)
        for (Index i = chunk * CHUNK; i < end; i++) {
            T adam = rate * m[i] / (std::sqrt(second[i]) / root + eps);
            T step = -adam - decay * ((theta[i] + adam) / kept);
            squares += step * step;
        }
        sums[chunk] = squares;
    }
    for (Index i = 0; i < head; i++) {
        T adam = rate * m[i] / (std::sqrt(second[i]) / root + eps);
        steps[i] = -adam - decay * ((theta[i] + adam) / kept);
    }
    double total = 0;
    for (Index chunk = 0; chunk < chunks; chunk++) total += sums[chunk];
    return total;
}

// lambda Q of the first scalars of some tensors, one after another in `terms`, before any of them moves; how many gradients are
// not 0. `each`: whether registers end with a tensor, or run through all.
template <class T>
static Index term_before(const Parameter* parameters, Index count, const Circuit* circuit, int each, double weight, T* terms) {
    Index place = 0, nonzero = 0;
    for (Index i = 0; i < count; i++)
        for (Index j = 0; j < parameters[i].count; j++) terms[place++] = ((const T*)parameters[i].theta)[j];
    if (circuit == nullptr)
        for (Index j = 0; j < place; j++) terms[j] = sine_of_turns<T>(terms[j]);
    else if (!each)
        modulate<T>(*circuit, terms, place, 1);
    else
        for (Index i = 0, from = 0; i < count; from += parameters[i++].count)
            modulate<T>(*circuit, terms + from, parameters[i].count, 1);
    place = 0;
    for (Index i = 0; i < count; i++)
        for (Index j = 0; j < parameters[i].count; j++, place++) {
            T gradient = ((const T*)parameters[i].grad)[j];
            nonzero += gradient != 0;
            terms[place] = terms[place] * gradient * (T)weight;
        }
    return nonzero;
}

// Subtracts lr * term from the same scalars: how many changed, and the sum of the terms' squares.
template <class T>
static Index term_after(const Parameter* parameters, Index count, double lr, const T* terms, double* squares) {
    Index place = 0, changed = 0;
    *squares = 0;
    for (Index i = 0; i < count; i++)
        for (Index j = 0; j < parameters[i].count; j++, place++) {
            T *theta = (T*)parameters[i].theta + j, before = *theta;
            *theta = before - terms[place] * (T)lr;
            changed += *theta != before;
            *squares += (double)terms[place] * terms[place];
        }
    return changed;
}

// Counts of steps, a tensor each.
template <class T> static void count_up(T* const* counts, Index count) {
    for (Index i = 0; i < count; i++) *counts[i] += 1;
}
