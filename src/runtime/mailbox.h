// Hand-over of intrusive nodes (anything with a `next` pointer) between threads, without locks and without heap calls.
#pragma once

#include <atomic>
#include <cstdint>

namespace verge::runtime {

// Turns a list that was pushed in front into one in the order of arrival.
template <typename T>
T* reverse_list(T* list) {
  T* out = nullptr;
  while (list != nullptr) {
    T* next = list->next;
    list->next = out;
    out = list;
    list = next;
  }
  return out;
}

// First in, first out; one thread.
template <typename T>
class Fifo {
 public:
  bool empty() const { return head_ == nullptr; }
  void push(T* node) {
    node->next = nullptr;
    if (tail_ == nullptr) {
      head_ = node;
    } else {
      tail_->next = node;
    }
    tail_ = node;
  }
  void append(T* list) {
    while (list != nullptr) {
      T* next = list->next;
      push(list);
      list = next;
    }
  }
  T* pop() {
    T* node = head_;
    if (node != nullptr) {
      head_ = node->next;
      if (head_ == nullptr) tail_ = nullptr;
      node->next = nullptr;
    }
    return node;
  }
  T* take_all() {
    T* list = head_;
    head_ = tail_ = nullptr;
    return list;
  }
  // In proportion to what stands before it; it must be there.
  void remove(T* node) {
    T* before = nullptr;
    for (T* at = head_; at != node; at = at->next) before = at;
    (before == nullptr ? head_ : before->next) = node->next;
    if (tail_ == node) tail_ = before;
    node->next = nullptr;
  }

 private:
  T* head_ = nullptr;
  T* tail_ = nullptr;
};

// Many producers, one consumer that takes all there is.
template <typename T>
class Mailbox {
 public:
  // Whether it was empty, so that the consumer has to be woken.
  bool push(T* node) {
    T* old = head_.load(std::memory_order_relaxed);
    do {
      node->next = old;
    } while (!head_.compare_exchange_weak(old, node, std::memory_order_release, std::memory_order_relaxed));
    return old == nullptr;
  }
  // In the order of arrival; nullptr when empty.
  T* take_all() {
    if (head_.load(std::memory_order_relaxed) == nullptr) return nullptr;
    return reverse_list(head_.exchange(nullptr, std::memory_order_acquire));
  }

 private:
  std::atomic<T*> head_{nullptr};
};

}  // namespace verge::runtime
