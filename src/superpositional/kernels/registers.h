// -<Z> of every qubit of registers of scalars: the optimizer's circuit (Pamuk et al. 2025, eq. 5), simulated in double.
//
// Eight registers at once, one in each lane; amplitude i of all of them is one vector. Qubit 0 is the most significant bit.
#pragma once
#include <utility>
#include <vector>
#include "vector.h"

struct Circuit {
    int n_qubits, depth, rotations, entanglement, reupload;  // entanglement: 0, 1, 2 for none, linear, ring
    int kinds[16];                                           // (rotations): 0, 1, 2 for rx, ry, rz
    const double* angles;                                    // (depth, rotations, n_qubits)
};

// Calls `cnot(control, target)` for a layer's, of a register of so many qubits, in their order.
template <class F> INLINE void cnots(const Circuit& circuit, int width, F cnot) {
    if (circuit.entanglement == 0) return;
    for (int q = 0; q + 1 < width; q++) cnot(q, q + 1);
    if (circuit.entanglement == 2 && width > 2) cnot(width - 1, 0);
}

typedef Lanes<double>::vector Wide;

struct Complex {
    Wide re, im;
};

static inline Complex operator*(Complex a, Complex b) { return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re}; }
static inline Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }

// The product of a qubit's rotations in a layer: [[a, b], [c, d]].
struct Unitary {
    Complex a, b, c, d;
};

static inline Unitary unitary(const Circuit& circuit, int layer, int q, Wide x) {
    const Wide zero = Wide{}, one = zero + 1.0;
    Unitary u = {{one, zero}, {zero, zero}, {zero, zero}, {one, zero}};
    for (int r = 0; r < circuit.rotations; r++) {
        Wide angle = zero + circuit.angles[(layer * circuit.rotations + r) * circuit.n_qubits + q], s, c;
        if (circuit.kinds[r] == 1 && (circuit.reupload || layer == 0)) angle += x;
        sincos<double>(angle * 0.5, s, c);
        // exp(-i angle P / 2) = c - i s P, applied after what is there.
        Complex a = u.a, b = u.b, e = u.c, d = u.d;
        if (circuit.kinds[r] == 0) {
            Complex f = {zero, -s}, g = {c, zero};
            u = {g * a + f * e, g * b + f * d, f * a + g * e, f * b + g * d};
        } else if (circuit.kinds[r] == 1) {
            Complex f = {s, zero}, minus = {-s, zero}, g = {c, zero};
            u = {g * a + minus * e, g * b + minus * d, f * a + g * e, f * b + g * d};
        } else {
            Complex f = {c, -s}, g = {c, s};
            u = {f * a, f * b, g * e, g * d};
        }
    }
    return u;
}

// <Z> of each qubit for inputs x[q], where the qubits never interact before they are read: the Bloch vector of H|0>, turned by
// each rotation; after the CNOTs a qubit is a parity of some, and its <Z> the product of theirs. No digit of a small <Z> is lost.
static inline void closed_form(const Circuit& circuit, int width, const Wide* x, Wide* z) {
    std::vector<Wide> before(width);
    std::vector<uint64_t> parity(width);
    for (int q = 0; q < width; q++) {
        Wide a = Wide{} + 1.0, b = Wide{}, c = Wide{}, sine, cosine;  // x, y and z of the Bloch vector
        for (int layer = 0; layer < circuit.depth; layer++)
            for (int r = 0; r < circuit.rotations; r++) {
                Wide angle = Wide{} + circuit.angles[(layer * circuit.rotations + r) * circuit.n_qubits + q], old;
                if (circuit.kinds[r] == 1 && (circuit.reupload || layer == 0)) angle += x[q];
                sincos<double>(angle, sine, cosine);
                if (circuit.kinds[r] == 0)
                    old = b, b = b * cosine - c * sine, c = c * cosine + old * sine;
                else if (circuit.kinds[r] == 1)
                    old = c, c = c * cosine - a * sine, a = a * cosine + old * sine;
                else
                    old = a, a = a * cosine - b * sine, b = b * cosine + old * sine;
            }
        before[q] = c, parity[q] = uint64_t(1) << q;
    }
    cnots(circuit, width, [&](int control, int target) { parity[target] ^= parity[control]; });
    for (int q = 0; q < width; q++) {
        z[q] = Wide{} + 1.0;
        for (int other = 0; other < width; other++)
            if (parity[q] >> other & 1) z[q] *= before[other];
    }
}

// The same by the state, of any circuit.
static inline void by_statevector(const Circuit& circuit, int width, const Wide* x, Wide* z) {
    const Index size = Index(1) << width;
    std::vector<Complex> state(size, Complex{Wide{}, Wide{}});
    state[0].re = Wide{} + 1.0;
    for (int layer = 0; layer < circuit.depth; layer++) {
        for (int q = 0; q < width; q++) {
            Unitary u = unitary(circuit, layer, q, x[q]);
            if (layer == 0) {
                // H first: (u00 + u01, u00 - u01) / sqrt(2), and so on.
                const double half = 0.70710678118654752440;
                Unitary v = u;
                u.a = {(v.a.re + v.b.re) * half, (v.a.im + v.b.im) * half};
                u.b = {(v.a.re - v.b.re) * half, (v.a.im - v.b.im) * half};
                u.c = {(v.c.re + v.d.re) * half, (v.c.im + v.d.im) * half};
                u.d = {(v.c.re - v.d.re) * half, (v.c.im - v.d.im) * half};
            }
            const Index bit = Index(1) << (width - 1 - q);
            for (Index i = 0; i < size; i++)
                if (!(i & bit)) {
                    Complex low = state[i], high = state[i | bit];
                    state[i] = u.a * low + u.b * high, state[i | bit] = u.c * low + u.d * high;
                }
        }
        cnots(circuit, width, [&](int control, int target) {
            const Index c = Index(1) << (width - 1 - control), t = Index(1) << (width - 1 - target);
            for (Index i = 0; i < size; i++)
                if ((i & c) && !(i & t)) std::swap(state[i], state[i | t]);
        });
    }
    for (int q = 0; q < width; q++) {
        const Index bit = Index(1) << (width - 1 - q);
        Wide total = Wide{};
        for (Index i = 0; i < size; i++) {
            Wide probability = state[i].re * state[i].re + state[i].im * state[i].im;
            total += i & bit ? -probability : probability;
        }
        z[q] = total;
    }
}

// Scalars to their modulations -<Z>, in place. Registers of n_qubits follow one another; the last may be shorter, and has the
// circuit's first qubits.
template <class T> static void modulate(const Circuit& circuit, T* scalars, Index count, int threads) {
    const int n = circuit.n_qubits, L = Lanes<double>::count;
    const bool closed = circuit.depth == 1 || circuit.entanglement == 0;
    const Index full = count / n, batches = (full + L - 1) / L;
#pragma omp parallel for num_threads(threads) schedule(static) if (batches > 8)
    for (Index batch = 0; batch <= batches; batch++) {
        // The last batch is the one shorter register.
        const bool rest = batch == batches;
        const int width = rest ? count % n : n, many = rest ? 1 : full - batch * L < L ? full - batch * L : L;
        if (width == 0) continue;
        T* from = scalars + (rest ? full * n : batch * L * n);
        std::vector<Wide> x(width), z(width);
        for (int q = 0; q < width; q++)
            for (int i = 0; i < L; i++) {
                double theta = from[(i < many ? i : 0) * width + q];
                x[q][i] = (theta - 2 * std::rint(theta / 2)) * 3.14159265358979323846;
            }
        closed ? closed_form(circuit, width, x.data(), z.data()) : by_statevector(circuit, width, x.data(), z.data());
        for (int q = 0; q < width; q++)
            for (int i = 0; i < many; i++) from[i * width + q] = -z[q][i];
    }
}
