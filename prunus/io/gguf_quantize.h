#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "prunus/io/gguf_blocks.h"

namespace prunus {

/// Whether quantize_gguf_rows() makes blocks of this type: every type that Prunus reads.
bool is_writable(const GgufBlockType& type);

/// The names of the types that is_writable() accepts, for messages.
std::string writable_gguf_types();

/// Writes `rows` rows of `columns` FP32 values as blocks of `type`, on libtorch's threads. The
/// result does not depend on their number.
/// F32, F16, BF16: rounded to nearest even. Q8_0: as ggml's reference and the `gguf` package, bit
/// for bit. All others: round to nearest with an own search for the least squared error: Q4_0,
/// Q4_1, Q5_0, Q5_1 over some twenty scales around ggml's, each also fitted by least squares, so
/// that no block is worse than ggml's; Q2_K to Q6_K: scale and minimum of a group by weighted least
/// squares over as many starting scales, then the scales' integers and the block's factors chosen
/// for the least error (gguf_quantize_k.cpp). Not ggml's bits, but blocks that every reader takes.
/// Shapes: from [rows · columns]; to, rows · columns / type.elements blocks; `importance` [columns]
/// or null: weight of each column's squared error in the K types (a mean of squared inputs), all 1
/// where null. `columns` is a multiple of type.elements; values are finite.
/// Cost: the K types take some 200 ns a value on one thread, Q4_0 to Q5_1 60, the others a few.
/// Throws Numeric where a value or a block's scale is beyond the range of a half; Unsupported for a
/// type that is not is_writable().
void quantize_gguf_rows(const GgufBlockType& type, const float* from, int64_t rows, int64_t columns,
                        std::byte* to, const float* importance = nullptr);

/// The type for rows of `columns` values where `wanted` is asked for: `wanted` where the rows are
/// whole blocks of it; else the type of 32 values a block that is next in size, as llama-quantize
/// does (Q2_K, Q3_K → Q4_0; Q5_K → Q5_1; Q6_K → Q8_0) but for Q4_K → Q5_1, where it takes Q5_0,
/// which has no minimum; else F16. Source: llama.cpp, llama-quant.cpp.
const GgufBlockType& fitting_type(const GgufBlockType& wanted, int64_t columns);

}  // namespace prunus
