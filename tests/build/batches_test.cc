#include "build/batches.h"

#include <gtest/gtest.h>

#include <cmath>

namespace verge::build {
namespace {

TEST(Batches, ALargeOnePaysWhereTheCallIsMostOfARun) {
  EXPECT_TRUE(large_batch_pays(9.7, 13.0));    // a small LSTM, unrolled
  EXPECT_TRUE(large_batch_pays(74, 80));       // the same as a loop
  EXPECT_TRUE(large_batch_pays(21.5, 31));     // and in int8
  EXPECT_FALSE(large_batch_pays(43, 333));     // a small convolutional network
  EXPECT_FALSE(large_batch_pays(288, 2315));   // a larger one
  EXPECT_FALSE(large_batch_pays(10, 60));      // a sample of 64 would take 7.25 us for 7.5
}

TEST(Batches, NotWhereNothingWouldRunItOrNothingIsKnown) {
  EXPECT_TRUE(large_batch_pays(1500, 1700));
  EXPECT_FALSE(large_batch_pays(3500, 4000));  // 8 ms
  EXPECT_FALSE(large_batch_pays(0, 13));
  EXPECT_FALSE(large_batch_pays(10, 0));
  EXPECT_FALSE(large_batch_pays(NAN, 13));
  EXPECT_TRUE(large_batch_pays(20, 15));  // the run of one was disturbed
}

}  // namespace
}  // namespace verge::build
