// What Python calls, in float32 and float64 (see build.py, which declares the same).
#include "attention.h"
#include "optimizer.h"
#include "small_attention.h"

#define FOR_BOTH(REAL, NAME)                                                                                                \
    extern "C" void series_forward_##NAME(const REAL* coefficients, const REAL* x, REAL* out, Index H, Index length,        \
                                          int J, int first, int threads) {                                                  \
        WITH_TERMS(J, (series_forward<REAL, N>(coefficients, x, out, H, length, J, first, threads)))                        \
    }                                                                                                                       \
    extern "C" void series_backward_##NAME(const REAL* coefficients, const REAL* x, const REAL* g, REAL* grad_x,            \
                                           double* grad_coefficients, double* partial, Index H, Index length, int J,        \
                                           int first, int threads) {                                                        \
        WITH_TERMS(J, (series_backward<REAL, N>(coefficients, x, g, grad_x, grad_coefficients, partial, H, length, J,       \
                                                first, threads)))                                                           \
    }                                                                                                                       \
    extern "C" void attention_forward_##NAME(const REAL* coefficients, const REAL* mask, const Index* stride,               \
                                             const uint8_t* kept, REAL* scores, REAL* lse, const Tile* tile) {              \
        Mask<REAL> masked = {mask, {stride[0], stride[1], stride[2], stride[3]}};                                           \
        WITH_TERMS(tile->J, (attention_forward<REAL, N>(coefficients, masked, kept, scores, lse, *tile)))                   \
    }                                                                                                                       \
    extern "C" void attention_backward_##NAME(const REAL* coefficients, const REAL* mask, const Index* stride,              \
                                              const uint8_t* kept, const REAL* lse, const REAL* out, const REAL* above_out, \
                                              Index E, REAL* scores, REAL* grads, double* partial, const Tile* tile) {      \
        Mask<REAL> masked = {mask, {stride[0], stride[1], stride[2], stride[3]}};                                           \
        WITH_TERMS(tile->J, (attention_backward<REAL, N>(coefficients, masked, kept, lse, out, above_out, E, scores, grads, \
                                                         partial, *tile)))                                                  \
    }                                                                                                                       \
    extern "C" void small_forward_##NAME(const REAL* coefficients, const REAL* mask, const Index* stride,                   \
                                         const uint8_t* kept, const REAL* q, const REAL* k, const REAL* v, Index E,         \
                                         REAL* out, REAL* lse, const Tile* tile) {                                          \
        Mask<REAL> masked = {mask, {stride[0], stride[1], stride[2], stride[3]}};                                           \
        WITH_TERMS(tile->J, (small_forward<REAL, N>(coefficients, masked, kept, q, k, v, E, out, lse, *tile)))              \
    }                                                                                                                       \
    extern "C" void small_backward_##NAME(const REAL* coefficients, const REAL* mask, const Index* stride,                  \
                                          const uint8_t* kept, const REAL* q, const REAL* k, const REAL* v, Index E,        \
                                          const REAL* out, const REAL* lse, const REAL* above, REAL* grad_q,                \
                                          REAL* grad_k, REAL* grad_v, double* partial, const Tile* tile) {                  \
        Mask<REAL> masked = {mask, {stride[0], stride[1], stride[2], stride[3]}};                                           \
        WITH_TERMS(tile->J, (small_backward<REAL, N>(coefficients, masked, kept, q, k, v, E, out, lse, above, grad_q,       \
                                                     grad_k, grad_v, partial, *tile)))                                      \
    }                                                                                                                       \
    extern "C" void attention_sums_##NAME(const double* partial, REAL* grad, Index matrices, Index groups,                  \
                                          const Tile* tile) {                                                               \
        attention_sums<REAL>(partial, grad, matrices, groups, *tile);                                                       \
    }                                                                                                                       \
    extern "C" void adamw_##NAME(const Parameter* parameters, Index count, const Group* group, double* numbers,             \
                                 double* total) {                                                                           \
        adamw<REAL>(parameters, count, group, numbers, total);                                                              \
    }                                                                                                                       \
    extern "C" double displacement_##NAME(const Parameter* parameter, const Group* group, Index head, REAL* steps,          \
                                          double* sums) {                                                                   \
        const void* second = parameter->v_max ? parameter->v_max : parameter->v;                                            \
        return displacement<REAL>(*parameter, *group, (const REAL*)second, head, steps, sums);                              \
    }                                                                                                                       \
    extern "C" Index term_before_##NAME(const Parameter* parameters, Index count, const Circuit* circuit, int each,         \
                                        double weight, REAL* terms) {                                                       \
        return term_before<REAL>(parameters, count, circuit, each, weight, terms);                                          \
    }                                                                                                                       \
    extern "C" Index term_after_##NAME(const Parameter* parameters, Index count, double lr, const REAL* terms,              \
                                       double* squares) {                                                                   \
        return term_after<REAL>(parameters, count, lr, terms, squares);                                                     \
    }                                                                                                                       \
    extern "C" void count_up_##NAME(REAL* const* counts, Index count) { count_up<REAL>(counts, count); }                    \
    extern "C" void modulate_##NAME(const Circuit* circuit, REAL* scalars, Index count, int threads) {                      \
        modulate<REAL>(*circuit, scalars, count, threads);                                                                  \
    }

FOR_BOTH(float, float32)
FOR_BOTH(double, float64)

extern "C" void nodes(const Circuit* circuit, const double* angles, Index sets, const double* weights, int linear,
                      const double* basis, Index K, Index C, double* coefficients, const double* grad_coefficients,
                      double* grad_angles) {
    nodes_of(*circuit, angles, sets, weights, linear, basis, K, C, coefficients, grad_coefficients, grad_angles);
}

extern "C" const char* compiler() { return __VERSION__; }
