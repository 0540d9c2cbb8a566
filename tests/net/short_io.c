// Preloaded into a program (LD_PRELOAD), it makes what the kernel may do at any time happen all the time: a read or write of a socket or pipe is short,
// mostly of a few bytes; one that must not wait finds nothing now and then (EAGAIN, as after a spurious wakeup); some are interrupted (EINTR).
// SHORT_IO_SEED: a number; what happens is a function of it and of the order of the calls in each thread. SHORT_IO_EINTR=1: interruptions too.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) \
  static __typeof__(name)* real; \
  if (!real) real = (__typeof__(name)*)dlsym(RTLD_NEXT, #name)

static uint64_t seed;
static int interrupts;
static atomic_uint threads;
static _Thread_local uint64_t state;

__attribute__((constructor)) static void begin(void) {
  const char* s = getenv("SHORT_IO_SEED");
  seed = s ? strtoull(s, 0, 10) : 1;
  const char* i = getenv("SHORT_IO_EINTR");
  interrupts = i && *i == '1';
}

// xorshift64*
static uint32_t draw(void) {
  if (!state) state = (seed + 1) * 0x9E3779B97F4A7C15u + atomic_fetch_add(&threads, 1) * 0xD1342543DE82EF95u + 1;
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  return (uint32_t)((state * 0x2545F4914F6CDD1Du) >> 32);
}

// How many of `size` bytes the call may move; 0: it fails with errno as set.
static size_t allowed(int fd, int flags, size_t size) {
  struct stat st;
  if (size == 0 || fstat(fd, &st) != 0 || !(S_ISSOCK(st.st_mode) || S_ISFIFO(st.st_mode))) return size;
  const uint32_t r = draw();
  if (interrupts && r % 16 == 0) return errno = EINTR, 0;
  if (r % 16 == 1 && ((flags & MSG_DONTWAIT) || (fcntl(fd, F_GETFL) & O_NONBLOCK))) return errno = EAGAIN, 0;
  // As often between 1 and 2 as between 512 Ki and 1 Mi, so that long bodies come to their end.
  const uint32_t order = (r >> 8) % 20;
  const size_t most = ((size_t)1 << order) + draw() % ((size_t)1 << order);
  return most < size ? most : size;
}

static size_t total(const struct iovec* v, size_t count) {
  size_t n = 0;
  for (size_t i = 0; i < count; ++i) n += v[i].iov_len;
  return n;
}

// The first `size` bytes of `from`; the number of pieces.
static size_t cut(const struct iovec* from, size_t count, size_t size, struct iovec* to) {
  size_t n = 0;
  for (; n < count && size; ++n) {
    to[n] = from[n];
    if (to[n].iov_len > size) to[n].iov_len = size;
    size -= to[n].iov_len;
  }
  return n;
}

ssize_t read(int fd, void* p, size_t n) {
  REAL(read);
  const size_t most = allowed(fd, 0, n);
  return most || !n ? real(fd, p, most) : -1;
}

ssize_t write(int fd, const void* p, size_t n) {
  REAL(write);
  const size_t most = allowed(fd, 0, n);
  return most || !n ? real(fd, p, most) : -1;
}

ssize_t recv(int fd, void* p, size_t n, int flags) {
  REAL(recv);
  const size_t most = allowed(fd, flags, n);
  return most || !n ? real(fd, p, most, flags) : -1;
}

ssize_t send(int fd, const void* p, size_t n, int flags) {
  REAL(send);
  const size_t most = allowed(fd, flags, n);
  return most || !n ? real(fd, p, most, flags) : -1;
}

ssize_t sendmsg(int fd, const struct msghdr* m, int flags) {
  REAL(sendmsg);
  const size_t n = total(m->msg_iov, m->msg_iovlen), most = allowed(fd, flags, n);
  if (n && !most) return -1;
  struct iovec some[IOV_MAX];
  struct msghdr shorter = *m;
  if (m->msg_iovlen <= IOV_MAX) {
    shorter.msg_iovlen = cut(m->msg_iov, m->msg_iovlen, most, some);
    shorter.msg_iov = some;
  }
  return real(fd, &shorter, flags);
}

ssize_t recvmsg(int fd, struct msghdr* m, int flags) {
  REAL(recvmsg);
  const size_t n = total(m->msg_iov, m->msg_iovlen), most = allowed(fd, flags, n);
  if (n && !most) return -1;
  struct iovec some[IOV_MAX], *whole = m->msg_iov;
  const size_t count = m->msg_iovlen;
  if (count <= IOV_MAX) {
    m->msg_iovlen = cut(whole, count, most, some);
    m->msg_iov = some;
  }
  const ssize_t got = real(fd, m, flags);
  m->msg_iov = whole;
  m->msg_iovlen = count;
  return got;
}

ssize_t writev(int fd, const struct iovec* v, int count) {
  REAL(writev);
  const size_t n = total(v, (size_t)count), most = allowed(fd, 0, n);
  if (n && !most) return -1;
  struct iovec some[IOV_MAX];
  return count > IOV_MAX ? real(fd, v, count) : real(fd, some, (int)cut(v, (size_t)count, most, some));
}

ssize_t readv(int fd, const struct iovec* v, int count) {
  REAL(readv);
  const size_t n = total(v, (size_t)count), most = allowed(fd, 0, n);
  if (n && !most) return -1;
  struct iovec some[IOV_MAX];
  return count > IOV_MAX ? real(fd, v, count) : real(fd, some, (int)cut(v, (size_t)count, most, some));
}
