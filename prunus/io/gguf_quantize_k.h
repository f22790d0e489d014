#pragma once
#include <cstdint>

namespace prunus::gguf_k {

/// One block of 256 values each; `weights` [256] ≥ 0 are those of the squared errors. Throw
/// Numeric where a block's scale is beyond the range of a half.
/// Layouts: docs/formats/gguf.md.
void quantize_q2_k(const float* from, const float* weights, uint8_t* to);
void quantize_q3_k(const float* from, const float* weights, uint8_t* to);
void quantize_q4_k(const float* from, const float* weights, uint8_t* to);
void quantize_q5_k(const float* from, const float* weights, uint8_t* to);
void quantize_q6_k(const float* from, const float* weights, uint8_t* to);

}  // namespace prunus::gguf_k
