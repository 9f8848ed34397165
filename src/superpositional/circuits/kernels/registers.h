// The circuit of Pamuk et al. 2025, eq. (5), simulated in double: registers of scalars for the optimizer, nodes of Phi's series
// for attention.
//
// As many circuits at once as a vector has lanes; amplitude i of all of them is one vector. Qubit 0 is the most significant bit.
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

// exp(-i angle P / 2) on the qubit of this bit, P by its kind, from cosine and sine of half the angle.
static inline void rotate(int kind, Wide c, Wide s, Complex* state, Index size, Index bit) {
    for (Index i = 0; i < size; i++) {
        if (i & bit) continue;
        Complex a = state[i], b = state[i | bit];
        if (kind == 0) {
            state[i] = {c * a.re + s * b.im, c * a.im - s * b.re};
            state[i | bit] = {c * b.re + s * a.im, c * b.im - s * a.re};
        } else if (kind == 1) {
            state[i] = {c * a.re - s * b.re, c * a.im - s * b.im};
            state[i | bit] = {c * b.re + s * a.re, c * b.im + s * a.im};
        } else {
            state[i] = {c * a.re + s * a.im, c * a.im - s * a.re};
            state[i | bit] = {c * b.re - s * b.im, c * b.im + s * b.re};
        }
    }
}

static inline void layer_of_cnots(const Circuit& circuit, int width, Complex* state, Index size, bool backwards) {
    int pairs[128][2], count = 0;
    cnots(circuit, width, [&](int control, int target) { pairs[count][0] = control, pairs[count++][1] = target; });
    for (int k = 0; k < count; k++) {
        const int* pair = pairs[backwards ? count - 1 - k : k];
        const Index control = Index(1) << (width - 1 - pair[0]), target = Index(1) << (width - 1 - pair[1]);
        for (Index i = 0; i < size; i++)
            if ((i & control) && !(i & target)) std::swap(state[i], state[i | target]);
    }
}

// Cosine and sine of half of each gate's angle, (depth, rotations, width), for angles that lanes may differ in and inputs x[q].
template <class Angle>
static inline void halves(const Circuit& circuit, int width, Angle angle, const Wide* x, Wide* cosine, Wide* sine) {
    for (int layer = 0, gate = 0; layer < circuit.depth; layer++)
        for (int r = 0; r < circuit.rotations; r++)
            for (int q = 0; q < width; q++, gate++) {
                Wide at = angle((layer * circuit.rotations + r) * circuit.n_qubits + q);
                if (circuit.kinds[r] == 1 && (circuit.reupload || layer == 0)) at += x[q];
                sincos<double>(at * 0.5, sine[gate], cosine[gate]);
            }
}

static inline void run(const Circuit& circuit, int width, const Wide* cosine, const Wide* sine, Complex* state) {
    const Index size = Index(1) << width;
    // The Hadamards.
    for (Index i = 0; i < size; i++) state[i] = {Wide{} + 1 / std::sqrt((double)size), Wide{}};
    for (int layer = 0, gate = 0; layer < circuit.depth; layer++) {
        for (int r = 0; r < circuit.rotations; r++)
            for (int q = 0; q < width; q++, gate++)
                rotate(circuit.kinds[r], cosine[gate], sine[gate], state, size, Index(1) << (width - 1 - q));
        layer_of_cnots(circuit, width, state, size, false);
    }
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
    const Index size = Index(1) << width, gates = Index(circuit.depth) * circuit.rotations * width;
    std::vector<Wide> cosine(gates), sine(gates);
    std::vector<Complex> state(size);
    halves(circuit, width, [&](int place) { return Wide{} + circuit.angles[place]; }, x, cosine.data(), sine.data());
    run(circuit, width, cosine.data(), sine.data(), state.data());
    for (int q = 0; q < width; q++) {
        const Index bit = Index(1) << (width - 1 - q);
        z[q] = Wide{};
        for (Index i = 0; i < size; i++) {
            Wide probability = state[i].re * state[i].re + state[i].im * state[i].im;
            z[q] += i & bit ? -probability : probability;
        }
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

// Phi at the nodes of its series, and from there its coefficients (series.py, fit); or, given gradients to these, those to the
// angles. weights (2^Q): Phi is the sum over basis states of weight times Re psi if `linear`, else times |psi|^2.
// angles, grad_angles (sets, depth, rotations, Q); basis (K, C), C coefficients; coefficients, grad_coefficients (sets, C).
static void nodes_of(const Circuit& circuit, const double* angles, Index sets, const double* weights, int linear,
                     const double* basis, Index K, Index C, double* coefficients, const double* grad_coefficients,
                     double* grad_angles) {
    const int n = circuit.n_qubits, L = Lanes<double>::count, gates = circuit.depth * circuit.rotations * n;
    const Index size = Index(1) << n;
    std::vector<Wide> x(n), cosine(gates), sine(gates);
    std::vector<Complex> state(size), above(size);
    for (Index first = 0; first < sets * K; first += L) {
        // A lane is a node of a set; those beyond the last repeat it, and count nothing.
        Index lanes = sets * K - first < L ? sets * K - first : L, set[8], node[8];
        for (int i = 0; i < L; i++) {
            Index lane = first + (i < lanes ? i : 0);
            set[i] = lane / K, node[i] = lane % K;
            for (int q = 0; q < n; q++) x[q][i] = node[i] * (6.283185307179586477 / K);
        }
        auto angle = [&](int place) {
            Wide at;
            for (int i = 0; i < L; i++) at[i] = angles[set[i] * gates + place];
            return at;
        };
        halves(circuit, n, angle, x.data(), cosine.data(), sine.data());
        run(circuit, n, cosine.data(), sine.data(), state.data());
        if (grad_angles == nullptr) {
            Wide phi = Wide{};
            for (Index i = 0; i < size; i++)
                phi += weights[i] * (linear ? state[i].re : state[i].re * state[i].re + state[i].im * state[i].im);
            for (int i = 0; i < lanes; i++)
                for (Index c = 0; c < C; c++) coefficients[set[i] * C + c] += phi[i] * basis[node[i] * C + c];
            continue;
        }
        // Adjoint differentiation (Jones and Gacon 2020, arXiv 2009.02823): the state, and what each amplitude is worth, walk
        // back through the gates together.
        Wide worth = Wide{};
        for (int i = 0; i < lanes; i++)
            for (Index c = 0; c < C; c++) worth[i] += grad_coefficients[set[i] * C + c] * basis[node[i] * C + c];
        for (Index i = 0; i < size; i++) {
            Wide weight = worth * weights[i];
            above[i] = linear ? Complex{weight, Wide{}} : Complex{2 * weight * state[i].re, 2 * weight * state[i].im};
        }
        for (int layer = circuit.depth - 1; layer >= 0; layer--) {
            layer_of_cnots(circuit, n, state.data(), size, true);
            layer_of_cnots(circuit, n, above.data(), size, true);
            for (int r = circuit.rotations - 1; r >= 0; r--)
                for (int q = n - 1; q >= 0; q--) {
                    const int gate = (layer * circuit.rotations + r) * n + q, kind = circuit.kinds[r];
                    const Index bit = Index(1) << (n - 1 - q);
                    // Half the imaginary part of <above| P |state>.
                    Wide total = Wide{};
                    for (Index i = 0; i < size; i++) {
                        Complex p = kind == 2 ? state[i] : state[i ^ bit];
                        const bool high = i & bit;
                        if (kind == 1) p = high ? Complex{-p.im, p.re} : Complex{p.im, -p.re};
                        if (kind == 2 && high) p = {-p.re, -p.im};
                        total += above[i].re * p.im - above[i].im * p.re;
                    }
                    for (int i = 0; i < lanes; i++) grad_angles[set[i] * gates + gate] += 0.5 * total[i];
                    rotate(kind, cosine[gate], -sine[gate], state.data(), size, bit);
                    rotate(kind, cosine[gate], -sine[gate], above.data(), size, bit);
                }
        }
    }
}
