# verge_library(NAME SOURCES a.cc … DEPS target …): the static library verge_NAME of src/NAME.
function(verge_library name)
  cmake_parse_arguments(A "" "" "SOURCES;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(verge_${name} STATIC ${A_SOURCES})
  target_include_directories(verge_${name} PUBLIC ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(verge_${name} PUBLIC ${A_DEPS} PRIVATE ${A_PRIVATE_DEPS})
endfunction()

# verge_small(target …): built for size. What no request passes through; a gateway's flash is small.
function(verge_small)
  if(VERGE_SANITIZE)
    return()
  endif()
  foreach(target ${ARGN})
    target_compile_options(${target} PRIVATE -Os)
  endforeach()
endfunction()

# verge_test(NAME SOURCES a.cc … DEPS target … [LABELS …] [TIMEOUT s]): a GoogleTest program, one ctest entry a program.
function(verge_test name)
  cmake_parse_arguments(A "" "TIMEOUT" "SOURCES;DEPS;LABELS" ${ARGN})
  add_executable(${name} ${A_SOURCES})
  target_link_libraries(${name} PRIVATE ${A_DEPS} GTest::gmock GTest::gtest_main)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME ${name} COMMAND ${name})
  if(NOT A_TIMEOUT)
    set(A_TIMEOUT 120)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${A_TIMEOUT} LABELS "${A_LABELS}")
endfunction()

# verge_engine_plugin(NAME SOURCES a.cc … [DESCRIPTOR file.in]): plugins/libverge_engine_NAME.so and its descriptor.
# In the descriptor, @VERGE_ENGINE_SEARCH@ is the folder of the engine's library on this machine; an install adds its own.
# The tiny artifacts of its folder check/, for `verge engine check`, go to plugins/check/NAME.
function(verge_engine_plugin name)
  cmake_parse_arguments(A "" "DESCRIPTOR" "SOURCES;DEPS" ${ARGN})
  add_library(verge_engine_${name} MODULE ${A_SOURCES})
  target_link_libraries(verge_engine_${name} PRIVATE verge_abi ${A_DEPS})
  target_link_options(verge_engine_${name} PRIVATE -Wl,--exclude-libs,ALL)
  set_target_properties(verge_engine_${name} PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/plugins)
  if(NOT A_DESCRIPTOR)
    set(A_DESCRIPTOR ${name}.engine.json.in)
  endif()
  configure_file(${A_DESCRIPTOR} ${CMAKE_BINARY_DIR}/plugins/${name}.engine.json @ONLY)
  if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/check)
    file(COPY ${CMAKE_CURRENT_SOURCE_DIR}/check/ DESTINATION ${CMAKE_BINARY_DIR}/plugins/check/${name} PATTERN "*.py" EXCLUDE)
  endif()
  set_property(GLOBAL APPEND PROPERTY VERGE_PLUGIN_TARGETS verge_engine_${name})
endfunction()
