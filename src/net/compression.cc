#include "net/compression.h"

#include <algorithm>
#include <string>

namespace verge::net {
namespace {

int window_bits(Encoding e) { return e == Encoding::kGzip ? 15 + 16 : 15; }

// zlib counts in 32 bits.
uInt clip(size_t n) { return static_cast<uInt>(std::min<size_t>(n, size_t{1} << 30)); }

}  // namespace

Inflater::Inflater() { inflateInit2(&z_, window_bits(encoding_)); }
Inflater::~Inflater() { inflateEnd(&z_); }

void Inflater::begin(Encoding encoding, std::string_view message, uint64_t limit) {
  encoding_ = encoding;
  left_ = message;
  limit_ = limit;
  done_ = too_large_ = false;
  inflateReset2(&z_, window_bits(encoding));
}

Status Inflater::step(Body* out, size_t aligned_at) {
  // A byte more than the limit, so that going beyond it shows.
  if (out->room() < kCodingStep / 2) {
    const uint64_t most = limit_ + 1;
    const uint64_t wanted = std::min(most, std::max<uint64_t>(out->size() + std::max<uint64_t>(kCodingStep, out->size()), 4 * left_.size()));
    if (wanted > out->size() + out->room() && !out->reserve(static_cast<size_t>(wanted), aligned_at))
      return resource_exhausted("no receive memory left to decompress a message into " + std::to_string(wanted) + " bytes; try again");
  }
  return inflate_into(out);
}

Status Inflater::inflate_into(Body* out) {
  size_t room_left = kCodingStep, input_left = kCodingStep;
  while (true) {
    const auto room = static_cast<uInt>(std::min(out->room(), room_left));
    const auto given = static_cast<uInt>(std::min(left_.size(), input_left));
    z_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(left_.data()));
    z_.avail_in = given;
    z_.next_out = reinterpret_cast<Bytef*>(out->end());
    z_.avail_out = room;
    const int result = inflate(&z_, Z_NO_FLUSH);
    left_.remove_prefix(given - z_.avail_in);
    out->added(room - z_.avail_out);
    room_left -= room - z_.avail_out;
    input_left -= given - z_.avail_in;
    if (out->size() > limit_) {
      too_large_ = true;
      return resource_exhausted("the compressed message becomes larger than " + std::to_string(limit_) + " bytes");
    }
    if (result == Z_MEM_ERROR) return resource_exhausted("no memory left to decompress a message");
    if (result == Z_STREAM_END) {
      if (left_.empty()) {
        done_ = true;
        return {};
      }
      // Several of gzip may stand behind each other.
      if (encoding_ != Encoding::kGzip) return invalid_argument("the compressed message has bytes behind its end");
      inflateReset2(&z_, window_bits(encoding_));
      if (!input_left) return {};
      continue;
    }
    if (result != Z_OK && result != Z_BUF_ERROR)
      return invalid_argument("the message is not " + std::string(encoding_name(encoding_)) + " data" + (z_.msg ? std::string(": ") + z_.msg : ""));
    if (z_.avail_out && left_.empty()) return invalid_argument("the compressed message ends early");
    if (!z_.avail_out || !input_left) return {};  // more in the next step
  }
}

Deflater::Deflater(Encoding encoding) : encoding_(encoding) {
  deflateInit2(&z_, Z_BEST_SPEED, Z_DEFLATED, window_bits(encoding), 8, Z_DEFAULT_STRATEGY);
}
Deflater::~Deflater() { deflateEnd(&z_); }

void Deflater::begin() { deflateReset(&z_); }

void Deflater::run(int flush, ByteBuffer* out) {
  constexpr size_t kRoom = size_t{64} << 10;
  do {
    z_.next_out = reinterpret_cast<Bytef*>(out->room(kRoom));
    z_.avail_out = kRoom;
    deflate(&z_, flush);
    out->added(kRoom - z_.avail_out);
  } while (z_.avail_out == 0);
}

void Deflater::add(const char* p, size_t n, ByteBuffer* out) {
  while (n) {
    const uInt part = clip(n);
    z_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(p));
    z_.avail_in = part;
    run(Z_NO_FLUSH, out);
    p += part;
    n -= part;
  }
}

void Deflater::finish(ByteBuffer* out) {
  z_.avail_in = 0;
  run(Z_FINISH, out);
}

Status inflate_message(Inflater& inflater, Encoding encoding, std::string_view message, uint64_t limit, Body* out) {
  inflater.begin(encoding, message, limit);
  while (!inflater.done()) VERGE_RETURN_IF_ERROR(inflater.step(out, 0));
  return {};
}

}  // namespace verge::net
