// NumPy's .npy files, versions 1 to 3, C order, little-endian: the form in which samples and outputs lie on disk.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "core/status.h"
#include "core/tensor.h"

namespace verge {

struct NpyHeader {
  DType dtype = DType::kInvalid;  // BYTES for NumPy's fixed-width 'S' and 'U' strings
  Shape shape;                    // static; at least rank 0
  size_t data_offset = 0;         // bytes before the data
  size_t item_size = 0;           // bytes an element in the file; for BYTES the fixed width
  bool utf32 = false;             // 'U': four bytes a character
};

// `bytes` may be just the file's beginning (64 KiB + 12 hold every header that is accepted). The data's size is not checked.
Result<NpyHeader> parse_npy_header(std::string_view bytes, std::string_view what);

// The whole file. Its data must be exactly as long as the header says. `what` names the file in errors.
// String elements become BYTES in wire form, without NumPy's padding ('U' as UTF-8).
Result<Tensor> parse_npy(std::string_view bytes, std::string_view what);

// A whole file, version 1. BYTES are written as 'S' of the longest element's width, which drops trailing NULs; BF16 as two-byte voids ('V2'),
// as ml_dtypes does.
std::string print_npy(const Tensor& t);

// The header alone, always kNpyHeaderBytes long, so that a streaming writer can put the final shape there afterwards. Not for BYTES.
inline constexpr size_t kNpyHeaderBytes = 256;
std::string print_npy_header(DType dtype, const Shape& shape);

}  // namespace verge
