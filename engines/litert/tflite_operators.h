// How many tensors each operator of the TFLite schema takes and gives, and which inputs hold indices or sizes.
#pragma once

#include <cstdint>

namespace verge::litert {

constexpr int kAny = 255;

struct OperatorForm {
  uint8_t least_inputs = 0, most_inputs = kAny, least_outputs = 1, most_outputs = kAny;
  uint32_t index_inputs = 0;  // bit i: input i must be int32 or int64
};

// The form of operator `code`; the loosest one for operators that are not in the table.
// clang-format off
constexpr OperatorForm operator_form(int32_t code) {
  switch (code) {
    case 0: case 18: case 41: case 42: case 54: case 55: case 57: case 58: case 61: case 62: case 63: case 71: case 72:
    case 78: case 84: case 86: case 90: case 95: case 99: case 115: case 126: case 156: case 160: case 161:
      return {2, 2, 1, 1, 0};  // two operands
    case 1: case 5: case 6: case 8: case 11: case 12: case 13: case 14: case 17: case 19: case 20: case 21: case 25: case 26: case 28:
    case 43: case 47: case 50: case 53: case 59: case 66: case 73: case 75: case 76: case 77:
    case 87: case 92: case 93: case 98: case 101: case 104:
    case 108: case 109: case 110: case 111: case 113: case 114: case 116: case 117: case 147: case 150: case 152: case 158: case 159:
      return {1, 1, 1, 1, 0};  // one operand
    case 2: case 83: case 106: return {1, kAny, 1, 1, 0};                      // CONCATENATION, PACK, ADD_N
    case 3: case 132: return {2, 3, 1, 1, 0};                                  // CONV_2D, CONV_3D
    case 4: return {3, 3, 1, 1, 0};                                            // DEPTHWISE_CONV_2D: XNNPACK crashes without a bias
    case 9: return {2, 3, 1, 2, 0};                                            // FULLY_CONNECTED
    case 7: return {2, 2, 1, 1, 1};                                            // EMBEDDING_LOOKUP
    case 22: return {1, 2, 1, 1, 2};                                           // RESHAPE
    case 23: case 34: case 36: case 39: case 40: case 56: case 69: case 70: case 74: case 79: case 81: case 82: case 89:
    case 91: case 97: case 100: case 105: case 107: case 112: case 125: case 128: case 130: case 131: case 140:
      return {2, 2, 1, 1, 2};                                                  // an operand and where or how much
    case 37: case 38: case 65: return {3, 3, 1, 1, 6};                         // BATCH_TO_SPACE_ND, SPACE_TO_BATCH_ND, SLICE
    case 45: return {4, 4, 1, 1, 14};                                          // STRIDED_SLICE
    case 48: return {2, 2, 2, 2, 2};                                           // TOPK_V2
    case 49: return {2, 2, 1, kAny, 1};                                        // SPLIT
    case 60: return {3, 3, 1, 1, 2};                                           // PADV2
    case 64: case 96: case 123: return {3, 3, 1, 1, 0};                        // SELECT, RANGE, SELECT_V2
    case 67: case 141: return {3, 4, 1, 1, 1};                                 // transposed convolutions
    case 85: return {4, 4, 1, 1, 2};                                           // ONE_HOT
    case 88: return {1, 1, 1, kAny, 0};                                        // UNPACK
    case 94: return {2, 2, 1, 1, 1};                                           // FILL
    case 102: return {3, 3, 1, kAny, 6};                                       // SPLIT_V
    case 103: return {1, 1, 2, 2, 0};                                          // UNIQUE
    case 118: return {1, kAny, 0, kAny, 0};                                    // IF
    case 120: return {5, 5, 2, 2, 4};                                          // NON_MAX_SUPPRESSION_V4
    case 121: return {6, 6, 3, 3, 4};                                          // NON_MAX_SUPPRESSION_V5
    case 122: return {3, 3, 1, 1, 5};                                          // SCATTER_ND
    case 129: return {0, 0, 0, 0, 0};                                          // CALL_ONCE
    case 145: return {2, 2, 1, 1, 3};                                          // BROADCAST_ARGS
    case 151: return {3, 3, 1, 1, 4};                                          // DYNAMIC_UPDATE_SLICE
    case 153: case 154: case 155: case 157: return {3, 3, 1, 1, 6};            // UNSORTED_SEGMENT_*
    default: return {0, kAny, 0, kAny, 0};
  }
}

// Whether an input past the required ones, or any of a recurrent layer, may be left out (-1).
constexpr bool takes_optional_inputs(int32_t code) {
  switch (code) {
    case 3: case 9: case 67: case 132: case 141: return true;                                     // the bias
    case 16: case 24: case 27: case 35: case 44: case 46: case 52: case 206: return true;         // recurrent layers, composites
    default: return false;
  }
}

// Options of the operators that the checks look into: their number in the schema's union, and which 32-bit fields must be from 1 to 2^20.
struct OperatorOptions {
  uint8_t type = 0;             // 0: not looked into
  uint32_t positive_fields = 0;  // bit i: field i
  uint32_t defaults_to_one = 0;  // those whose absence means 1 and not 0
};
constexpr OperatorOptions operator_options(int32_t code) {
  switch (code) {
    case 1: case 12: case 17: return {5, 0b11110, 0};        // pooling: strides, filter
    case 3: return {1, 0b110110, 0b110000};                  // CONV_2D: strides, dilations
    case 4: return {2, 0b1100110, 0b1100000};                // DEPTHWISE_CONV_2D
    case 5: return {94, 1, 0};                               // DEPTH_TO_SPACE: block
    case 26: return {19, 1, 0};                              // SPACE_TO_DEPTH: block
    case 31: return {16, 0, 0};                              // CALL
    case 49: return {35, 1, 0};                              // SPLIT: parts
    case 67: return {49, 0b110, 0};                          // TRANSPOSE_CONV: strides
    case 83: return {59, 1, 0};                              // PACK: parts
    case 88: return {64, 0, 0};                              // UNPACK: parts
    case 102: return {79, 1, 0};                             // SPLIT_V: parts
    case 118: return {92, 0, 0};                             // IF
    case 119: return {93, 0, 0};                             // WHILE
    case 129: return {103, 0, 0};                            // CALL_ONCE
    case 132: case 141: return {106, 0b11101110, 0b11100000};  // CONV_3D, CONV_3D_TRANSPOSE
    default: return {};
  }
}
// clang-format on

}  // namespace verge::litert
