// Tensors written as text, for the text cases: `FP32 [2,2] : 1 2.5 nan -inf`, `BYTES [2] : "text" hex:ffd8`.
#pragma once

#include <cstdlib>
#include <cstring>
#include <string>

#include "core/json.h"
#include "core/tensor.h"

namespace verge::testing {

template <typename T>
void put(Tensor& t, T v) {
  const size_t at = t.data.size();
  t.data.resize(at + sizeof v);
  std::memcpy(t.data.data() + at, &v, sizeof v);
}

inline Result<Tensor> parse_text_tensor(const std::string& text) {
  auto bad = [&](const std::string& what) { return invalid_argument("'" + text.substr(0, 80) + "': " + what); };
  const size_t open = text.find('['), close = text.find(']'), colon = text.find(':', close == std::string::npos ? 0 : close);
  if (open == std::string::npos || close == std::string::npos || colon == std::string::npos) return bad("not DTYPE [shape] : values");
  Tensor t;
  t.dtype = dtype_from_name(text.substr(0, text.find_last_not_of(' ', open - 1) + 1));
  if (t.dtype == DType::kInvalid) return bad("unknown data type");
  for (const char* p = text.c_str() + open + 1; *p != ']';) {
    char* end;
    t.shape.push_back(std::strtoll(p, &end, 10));
    if (end == p) return bad("bad shape");
    p = *end == ',' ? end + 1 : end;
  }
  const char* p = text.c_str() + colon + 1;
  while (true) {
    while (*p == ' ') ++p;
    if (!*p) break;
    const char* stop = p;
    if (*p == '"') {
      for (++stop; *stop && *stop != '"'; ++stop) stop += *stop == '\\' && stop[1];
      ++stop;
    } else {
      while (*stop && *stop != ' ') ++stop;
    }
    std::string token(p, stop);
    p = stop;
    char* end = nullptr;
    if (t.dtype == DType::kBytes) {
      std::string s;
      if (token[0] == '"') {
        auto j = parse_json(token, "string");
        if (!j.ok()) return j.status();
        s = j->get<std::string>();
      } else if (token.starts_with("hex:")) {
        for (size_t i = 4; i + 1 < token.size(); i += 2) s += static_cast<char>(std::strtol(token.substr(i, 2).c_str(), nullptr, 16));
      } else {
        return bad("BYTES need \"text\" or hex:…");
      }
      put(t, static_cast<uint32_t>(s.size()));
      for (char c : s) put(t, c);
      continue;
    }
    const double d = std::strtod(token.c_str(), &end);
    if (end == token.c_str() || *end) return bad("bad number " + token);
    switch (t.dtype) {
      case DType::kBool:
      case DType::kUint8: put(t, static_cast<uint8_t>(d)); break;
      case DType::kInt8: put(t, static_cast<int8_t>(d)); break;
      case DType::kUint16: put(t, static_cast<uint16_t>(d)); break;
      case DType::kInt16: put(t, static_cast<int16_t>(d)); break;
      case DType::kUint32: put(t, static_cast<uint32_t>(d)); break;
      case DType::kInt32: put(t, static_cast<int32_t>(d)); break;
      case DType::kUint64: put(t, static_cast<uint64_t>(std::strtoull(token.c_str(), nullptr, 10))); break;
      case DType::kInt64: put(t, static_cast<int64_t>(std::strtoll(token.c_str(), nullptr, 10))); break;
      case DType::kFp16: put(t, fp32_to_fp16(static_cast<float>(d))); break;
      case DType::kBf16: put(t, fp32_to_bf16(static_cast<float>(d))); break;
      case DType::kFp32: put(t, std::strtof(token.c_str(), nullptr)); break;
      default: put(t, d); break;
    }
  }
  Status s = check_tensor(t.view(), "case");
  if (!s.ok()) return s;
  return t;
}

}  // namespace verge::testing
