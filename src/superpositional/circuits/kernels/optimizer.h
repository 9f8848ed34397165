// AdamW with the term of every scalar in one pass, and what the term of a few scalars needs (Pamuk et al. 2025, eqs. 1 and 2).
//
// A pass over a tensor goes in chunks, whose sums are in T; sums of chunks are in double and do not depend on the threads.
#pragma once
#include "registers.h"

static constexpr Index CHUNK = 4096;

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
    const Index L = Lanes<T>::count;
    const T sign = g.maximize ? -1 : 1, beta2 = g.beta2, one_minus_beta1 = 1 - g.beta1, one_minus_beta2 = 1 - g.beta2;
    const T rate = g.lr / p.bias_correction1, share = 1 / std::sqrt(p.bias_correction2), eps = g.eps, lr = g.lr;
    const T decay = g.lr * g.weight_decay, weight = g.quantum_weight;
    BITS nonzero = BITS{}, changed = BITS{};
    VECTOR term2 = VECTOR{}, step2 = VECTOR{}, product = VECTOR{};
    for (Index i = from; i < end; i += L) {
        const Index count = end - i;
        const bool part = count < L;
        // Beyond the end all is 0, and so are the sums, but for the second moment: nothing is divided by 0 there.
        auto read = [&](const T* at, T fill = 0) { return part ? load_part<T>(at + i, count, fill) : load<T>(at + i); };
        auto write = [&](T* at, VECTOR x) { part ? store_part<T>(at + i, x, count) : store<T>(at + i, x); };
        VECTOR before = read(theta), gradient = read(grad) * sign, first = read(m), second = read(v, 1);
        VECTOR term = weight * (sine_of_turns<T>(before) * gradient);
        first += one_minus_beta1 * (gradient - first);
        second = second * beta2 + one_minus_beta2 * gradient * gradient;
        write(m, first), write(v, second);
        if (v_max) {
            // What is no number stays, as in torch's maximum.
            VECTOR most = read(v_max, 1);
            second = (most > second) | (most != most) ? most : second;
            write(v_max, second);
        }
        VECTOR adam = rate * first / (root<T>(second) * share + eps), decayed = decay * before;
        VECTOR stepped = before - decayed - adam, delta = lr * term, after = stepped - delta, step = -adam - decayed;
        write(theta, after);
        // Comparisons give -1 where they hold.
        nonzero -= gradient != 0, changed -= after != stepped;
        term2 += term * term, step2 += step * step, product -= step * delta;
    }
    numbers[NONZERO] = numbers[CHANGED] = 0;
    for (Index i = 0; i < L; i++) numbers[NONZERO] += nonzero[i], numbers[CHANGED] += changed[i];
    numbers[TERM] = sum<T>(term2), numbers[STEP] = sum<T>(step2), numbers[PRODUCT] = sum<T>(product);
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
    const T rate = g.lr / p.bias_correction1, share = 1 / std::sqrt(p.bias_correction2), eps = g.eps;
    const T decay = g.lr * g.weight_decay, kept = 1 - g.lr * g.weight_decay;
    Index chunks = (p.count + CHUNK - 1) / CHUNK;
#pragma omp parallel for num_threads(g.threads) schedule(static) if (chunks > 8)
    for (Index chunk = 0; chunk < chunks; chunk++) {
        Index end = (chunk + 1) * CHUNK < p.count ? (chunk + 1) * CHUNK : p.count;
        VECTOR squares = VECTOR{};
        for (Index i = chunk * CHUNK; i < end; i += Lanes<T>::count) {
            const Index count = end - i;
            const bool part = count < Lanes<T>::count;
            auto read = [&](const T* at, T fill = 0) { return part ? load_part<T>(at + i, count, fill) : load<T>(at + i); };
            VECTOR adam = rate * read(m) / (root<T>(read(second, 1)) * share + eps);
            VECTOR step = -adam - decay * ((read(theta) + adam) / kept);
            squares += step * step;
        }
        sums[chunk] = sum<T>(squares);
    }
    for (Index i = 0; i < head; i++) {
        T adam = rate * m[i] / (std::sqrt(second[i]) * share + eps);
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
        for (Index j = 0; j < place; j += Lanes<T>::count) {
            const Index left = place - j < Lanes<T>::count ? place - j : Lanes<T>::count;
            store_part<T>(terms + j, sine_of_turns<T>(load_part<T>(terms + j, left, 0)), left);
        }
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
