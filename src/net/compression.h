// gzip and deflate: streams of zlib. One front's own.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <string_view>

#include "core/status.h"
#include "net/bytes.h"
#include "net/encoding.h"

namespace verge::net {

// How much one message may grow when it is inflated: to this size, or to that many times its own where that is more.
inline constexpr uint64_t kInflateAnyway = uint64_t{1} << 20;
inline constexpr uint64_t kInflateRatio = 200;

// Bytes that one step inflates or deflates at most: a few milliseconds.
inline constexpr size_t kCodingStep = size_t{1} << 20;

class Inflater {
 public:
  Inflater();
  ~Inflater();
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  // Begins a message. `limit`: the most bytes it may become.
  void begin(Encoding encoding, std::string_view message, uint64_t limit);
  // One step into `out`, whose byte `aligned_at` is to be aligned. kResourceExhausted where the message becomes too large (too_large()) or
  // no memory is left, kInvalidArgument where it is malformed.
  Status step(Body* out, size_t aligned_at);
  bool done() const { return done_; }
  bool too_large() const { return too_large_; }

 private:
  Status inflate_into(Body* out);
  z_stream z_{};
  Encoding encoding_ = Encoding::kGzip;
  std::string_view left_;
  uint64_t limit_ = 0;
  bool done_ = false, too_large_ = false;
};

class Deflater {
 public:
  explicit Deflater(Encoding encoding);
  ~Deflater();
  Deflater(const Deflater&) = delete;
  Deflater& operator=(const Deflater&) = delete;
  Encoding encoding() const { return encoding_; }
  void begin();
  void add(const char* p, size_t n, ByteBuffer* out);
  void finish(ByteBuffer* out);

 private:
  void run(int flush, ByteBuffer* out);
  z_stream z_{};
  const Encoding encoding_;
};

// Inflates a whole message at once, for tests and small ones.
Status inflate_message(Inflater& inflater, Encoding encoding, std::string_view message, uint64_t limit, Body* out);

}  // namespace verge::net
