#include "core/npy.h"

#include <algorithm>
#include <charconv>
#include <cstring>

namespace verge {
namespace {

constexpr std::string_view kMagic("\x93NUMPY", 6);
constexpr size_t kMaxHeader = size_t{64} << 10;
constexpr size_t kMaxStringWidth = size_t{64} << 20;

struct DescrRow {
  DType type;
  std::string_view descr;
};
constexpr DescrRow kDescr[] = {
    {DType::kBool, "|b1"},   {DType::kUint8, "|u1"},  {DType::kUint16, "<u2"}, {DType::kUint32, "<u4"}, {DType::kUint64, "<u8"},
    {DType::kInt8, "|i1"},   {DType::kInt16, "<i2"},  {DType::kInt32, "<i4"},  {DType::kInt64, "<i8"},  {DType::kFp16, "<f2"},
    {DType::kFp32, "<f4"},   {DType::kFp64, "<f8"},   {DType::kBf16, "|V2"},
};

Status bad(std::string_view what, const std::string& why) { return invalid_argument(std::string(what) + ": not a usable npy file: " + why); }

// The value after `'key':` in the header's Python dict literal, spaces skipped; npos where there is none.
size_t value_position(std::string_view dict, std::string_view key) {
  for (char quote : {'\'', '"'}) {
    std::string needle = quote + std::string(key) + quote;
    size_t at = dict.find(needle);
    if (at == std::string_view::npos) continue;
    at = dict.find_first_not_of(' ', at + needle.size());
    if (at == std::string_view::npos || dict[at] != ':') continue;
    return dict.find_first_not_of(' ', at + 1);
  }
  return std::string_view::npos;
}

Result<NpyHeader> header_from_dict(std::string_view dict, std::string_view what) {
  NpyHeader h;
  size_t at = value_position(dict, "descr");
  if (at == std::string_view::npos || (dict[at] != '\'' && dict[at] != '"'))
    return bad(what, "its element type is not a plain one (records and Python objects are not read)");
  size_t end = dict.find(dict[at], at + 1);
  if (end == std::string_view::npos) return bad(what, "its header is cut off");
  std::string_view descr = dict.substr(at + 1, end - at - 1);
  if (descr.size() < 3) return bad(what, "element type '" + std::string(descr) + "' is unknown");
  if (descr[0] == '>') return bad(what, "big-endian elements ('" + std::string(descr) + "') are not read; save with a little-endian type");
  std::string_view kind = descr.substr(1);
  for (const auto& row : kDescr)
    if (row.descr.substr(1) == kind) h.dtype = row.type;
  if (h.dtype != DType::kInvalid) {
    h.item_size = dtype_size(h.dtype);
  } else if (kind[0] == 'S' || kind[0] == 'U') {
    size_t width = 0;
    auto [p, ec] = std::from_chars(kind.data() + 1, kind.data() + kind.size(), width);
    if (ec != std::errc() || p != kind.data() + kind.size() || width > kMaxStringWidth)
      return bad(what, "string type '" + std::string(descr) + "' is not readable");
    h.dtype = DType::kBytes;
    h.utf32 = kind[0] == 'U';
    h.item_size = h.utf32 ? width * 4 : width;
  } else {
    return bad(what, "element type '" + std::string(descr.substr(0, 40)) + "' is not supported");
  }

  at = value_position(dict, "fortran_order");
  if (at == std::string_view::npos) return bad(what, "its header lacks 'fortran_order'");
  bool fortran = dict.substr(at, 4) == "True";

  at = value_position(dict, "shape");
  if (at == std::string_view::npos || dict[at] != '(') return bad(what, "its header lacks 'shape'");
  end = dict.find(')', at);
  if (end == std::string_view::npos) return bad(what, "its header is cut off");
  std::string_view dims = dict.substr(at + 1, end - at - 1);
  while (true) {
    size_t start = dims.find_first_not_of(" ,");
    if (start == std::string_view::npos) break;
    dims.remove_prefix(start);
    int64_t d = 0;
    auto [p, ec] = std::from_chars(dims.data(), dims.data() + dims.size(), d);
    if (ec != std::errc() || d < 0) return bad(what, "its shape is not a list of sizes");
    dims.remove_prefix(static_cast<size_t>(p - dims.data()));
    if (!dims.empty() && dims[0] == 'L') dims.remove_prefix(1);
    if (!h.shape.push_back(d)) return bad(what, "it has more than " + std::to_string(kMaxRank) + " dimensions");
  }
  if (fortran && h.shape.rank() > 1) return bad(what, "it is in Fortran order; save numpy.ascontiguousarray(array)");
  if (h.shape.elements() < 0) return bad(what, "its shape " + h.shape.to_string() + " is too large");
  return h;
}

void append_utf8(std::vector<std::byte>& out, uint32_t c) {
  auto put = [&](uint32_t b) { out.push_back(static_cast<std::byte>(b)); };
  if (c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) c = 0xFFFD;
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6), put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12), put(0x80 | ((c >> 6) & 0x3F)), put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18), put(0x80 | ((c >> 12) & 0x3F)), put(0x80 | ((c >> 6) & 0x3F)), put(0x80 | (c & 0x3F));
  }
}

void append_wire_string(std::vector<std::byte>& out, std::string_view item, bool utf32) {
  size_t at = out.size();
  out.resize(at + 4);
  if (utf32) {
    size_t n = item.size() / 4;
    auto code = [&](size_t i) {
      uint32_t c;
      std::memcpy(&c, item.data() + 4 * i, 4);
      return c;
    };
    while (n > 0 && code(n - 1) == 0) --n;
    for (size_t i = 0; i < n; ++i) append_utf8(out, code(i));
  } else {
    item = item.substr(0, item.find_last_not_of('\0') + 1);
    auto* p = reinterpret_cast<const std::byte*>(item.data());
    out.insert(out.end(), p, p + item.size());
  }
  auto length = static_cast<uint32_t>(out.size() - at - 4);
  std::memcpy(out.data() + at, &length, 4);
}

std::string header_of(std::string_view descr, const Shape& shape, size_t total) {
  std::string dict = "{'descr': '" + std::string(descr) + "', 'fortran_order': False, 'shape': (";
  for (int i = 0; i < shape.rank(); ++i) dict += std::to_string(shape[i]) + (shape.rank() == 1 || i + 1 < shape.rank() ? "," : "");
  dict += "), }";
  size_t length = total - 10;
  dict.resize(length - 1, ' ');
  dict += '\n';
  std::string out(kMagic);
  out += '\x01';
  out += '\0';
  out += static_cast<char>(length & 0xFF);
  out += static_cast<char>(length >> 8);
  return out + dict;
}

}  // namespace

Result<NpyHeader> parse_npy_header(std::string_view bytes, std::string_view what) {
  if (bytes.size() < 10 || bytes.substr(0, 6) != kMagic) return bad(what, "it does not begin with NumPy's magic bytes");
  auto byte = [&](size_t i) { return static_cast<size_t>(static_cast<unsigned char>(bytes[i])); };
  size_t major = byte(6);
  if (major < 1 || major > 3) return bad(what, "version " + std::to_string(major) + " is unknown");
  size_t start = major == 1 ? 10 : 12;
  if (bytes.size() < start) return bad(what, "its header is cut off");
  size_t length = byte(8) | byte(9) << 8;
  if (major > 1) length |= byte(10) << 16 | byte(11) << 24;
  if (length > kMaxHeader) return bad(what, "its header claims " + std::to_string(length) + " bytes");
  if (bytes.size() < start + length) return bad(what, "its header is cut off");
  auto h = header_from_dict(bytes.substr(start, length), what);
  if (h.ok()) h->data_offset = start + length;
  return h;
}

Result<Tensor> parse_npy(std::string_view bytes, std::string_view what) {
  VERGE_ASSIGN(NpyHeader h, parse_npy_header(bytes, what));
  std::string_view data = bytes.substr(h.data_offset);
  auto elements = static_cast<unsigned __int128>(h.shape.elements());
  if (elements * h.item_size != data.size())
    return bad(what, "its header calls for " + h.shape.to_string() + " elements of " + std::to_string(h.item_size) + " bytes, but it holds " +
                         std::to_string(data.size()) + " bytes of data");
  Tensor t;
  t.dtype = h.dtype;
  t.shape = h.shape;
  if (h.dtype != DType::kBytes) {
    auto* p = reinterpret_cast<const std::byte*>(data.data());
    t.data.assign(p, p + data.size());
    return t;
  }
  // A zero width carries no data, so the count has to be bounded on its own.
  if (h.item_size == 0 && elements > (uint64_t{1} << 24)) return bad(what, "it claims too many empty strings");
  for (uint64_t i = 0; i < static_cast<uint64_t>(elements); ++i) append_wire_string(t.data, data.substr(i * h.item_size, h.item_size), h.utf32);
  return t;
}

std::string print_npy_header(DType dtype, const Shape& shape) {
  for (const auto& row : kDescr)
    if (row.type == dtype) return header_of(row.descr, shape, kNpyHeaderBytes);
  return {};
}

std::string print_npy(const Tensor& t) {
  if (t.dtype != DType::kBytes) {
    std::string out = print_npy_header(t.dtype, t.shape);
    out.append(reinterpret_cast<const char*>(t.data.data()), t.data.size());
    return out;
  }
  std::vector<std::string_view> items;
  const char* p = reinterpret_cast<const char*>(t.data.data());
  size_t left = t.data.size(), width = 1;
  while (left >= 4) {
    uint32_t n;
    std::memcpy(&n, p, 4);
    if (n > left - 4) break;
    items.emplace_back(p + 4, n);
    width = std::max(width, size_t{n});
    p += 4 + n;
    left -= 4 + n;
  }
  std::string out = header_of("|S" + std::to_string(width), t.shape, kNpyHeaderBytes);
  out.reserve(out.size() + items.size() * width);
  for (std::string_view item : items) {
    out += item;
    out.append(width - item.size(), '\0');
  }
  return out;
}

}  // namespace verge
