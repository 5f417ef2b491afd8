# replk_layer(<folder> [SOURCES ...] [USES <folders it may include>] [LIBRARIES <external>])
# One static library per folder. It links only what it may include, so the table in the README is what the build does.
function(replk_layer name)
  cmake_parse_arguments(arg "" "" "SOURCES;USES;LIBRARIES" ${ARGN})
  add_library(replk_${name} STATIC ${arg_SOURCES})
  list(TRANSFORM arg_USES PREPEND replk_)
  target_link_libraries(replk_${name} PUBLIC ${arg_USES} PRIVATE ${arg_LIBRARIES})
  replk_options(replk_${name})
endfunction()

# The compiler options of everything we build.
function(replk_options target)
  target_include_directories(${target} PUBLIC ${PROJECT_SOURCE_DIR})
  target_compile_definitions(${target} PUBLIC REPLK_HAS_CUDA=$<BOOL:${REPLK_HAS_CUDA}>)
  set(options -Wall -Wextra -Wshadow)
  # The oldest machine we run on. Newer instructions are chosen at run time, kernel by kernel (Highway).
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    list(APPEND options -march=x86-64-v2)
  endif()
  if(REPLK_WERROR)
    list(APPEND options -Werror)
  endif()
  target_compile_options(${target} PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:${options}>")
  if(REPLK_EMULATED_CUDA)
    target_include_directories(${target} BEFORE PUBLIC ${PROJECT_SOURCE_DIR}/tests/emulated_cuda)
  else()
    replk_cuda_options(${target})
  endif()
  set_target_properties(${target} PROPERTIES LINKER_LANGUAGE CXX)
  # Kernels call Eigen from inside parallel_for: it must not start threads of its own.
  target_compile_definitions(${target} PRIVATE EIGEN_DONT_PARALLELIZE)
  target_link_libraries(${target} PUBLIC Threads::Threads)
  if(REPLK_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${REPLK_SANITIZE} -fno-omit-frame-pointer
                           -fno-sanitize-recover=all)
    target_link_options(${target} PUBLIC -fsanitize=${REPLK_SANITIZE})
  endif()
endfunction()

# For code that takes longer to compile than it will ever run (options, tables, tests): -O1 takes two thirds of the
# time of -O3.
function(replk_compiles_fast target)
  target_compile_options(${target} PRIVATE "$<$<AND:$<CONFIG:Release>,$<COMPILE_LANGUAGE:CXX>>:-O1>")
endfunction()
