# REPLK_CUDA: AUTO takes CUDA where a fitting nvcc is found, ON insists on it, OFF leaves every .cu file out, EMULATE
# compiles them for a CPU that plays the GPU (tests/emulated_cuda). Sets REPLK_HAS_CUDA, and enables the language, when
# the build is to have it.
set(REPLK_CUDA AUTO CACHE STRING "Build the CUDA kernels: AUTO (where nvcc is found), ON, OFF or EMULATE (for tests)")
set_property(CACHE REPLK_CUDA PROPERTY STRINGS AUTO ON OFF EMULATE)
if(NOT REPLK_CUDA MATCHES "^(AUTO|ON|OFF|EMULATE)$")
  message(FATAL_ERROR "REPLK_CUDA is AUTO, ON, OFF or EMULATE, got \"${REPLK_CUDA}\".")
endif()
set(REPLK_HAS_CUDA OFF)
set(REPLK_EMULATED_CUDA OFF)
if(REPLK_CUDA STREQUAL EMULATE)
  set(REPLK_HAS_CUDA ON)
  set(REPLK_EMULATED_CUDA ON)
  message(STATUS "CUDA is emulated on the CPU: for tests, not for use")
  add_subdirectory(tests/emulated_cuda)
endif()

set(replk_cuda_problem "")
if(REPLK_CUDA MATCHES "^(AUTO|ON)$")
  if(NOT CMAKE_CUDA_COMPILER)
    find_program(REPLK_NVCC nvcc PATHS $ENV{CUDA_HOME}/bin $ENV{CUDA_PATH}/bin /usr/local/cuda/bin)
    if(REPLK_NVCC)
      set(CMAKE_CUDA_COMPILER ${REPLK_NVCC})
    endif()
  endif()
  if(NOT CMAKE_CUDA_COMPILER)
    set(replk_cuda_problem "nvcc was not found")
  else()
    # Asked before CMake tests the compiler: a toolkit too old for this host compiler would stop the configuration.
    execute_process(COMMAND ${CMAKE_CUDA_COMPILER} --version OUTPUT_VARIABLE replk_nvcc ERROR_QUIET)
    string(REGEX MATCH "release ([0-9]+\\.[0-9]+)" replk_nvcc "${replk_nvcc}")
    if(NOT CMAKE_MATCH_1 OR CMAKE_MATCH_1 VERSION_LESS 12.0)
      set(replk_cuda_problem
          "${CMAKE_CUDA_COMPILER} is of CUDA ${CMAKE_MATCH_1}, and C++20 needs 12.0 or newer (Debian 12 has 11.8)")
    endif()
  endif()
  if(replk_cuda_problem AND REPLK_CUDA STREQUAL ON)
    message(FATAL_ERROR "REPLK_CUDA=ON: ${replk_cuda_problem}.\n"
      "Install NVIDIA's CUDA toolkit, 12.0 or newer (https://developer.nvidia.com/cuda-downloads: the packages "
      "cuda-nvcc, cuda-cudart-dev and libcublas-dev are enough), and put its bin folder on the PATH or pass "
      "-DCMAKE_CUDA_COMPILER=<folder>/bin/nvcc. Without a GPU configure with -DREPLK_CUDA=OFF.")
  elseif(replk_cuda_problem)
    message(STATUS "CUDA is left out: ${replk_cuda_problem}.")
  else()
    set(REPLK_HAS_CUDA ON)
  endif()
endif()

if(REPLK_HAS_CUDA AND NOT REPLK_EMULATED_CUDA)
  # Machine code for A100 (also runs on 8.6 and 8.9) and H100, and PTX from which newer ones are compiled for.
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80-real 90 CACHE STRING "GPU architectures to compile for")
  endif()
  find_program(REPLK_CCACHE ccache)
  if(REPLK_CCACHE AND NOT CMAKE_CUDA_COMPILER_LAUNCHER)
    set(CMAKE_CUDA_COMPILER_LAUNCHER ${REPLK_CCACHE})
  endif()
  enable_language(CUDA)
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake before 3.26 does not know that nvcc 12 takes it
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  endif()
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA_EXTENSIONS OFF)
  # replk_core links the runtime like any other library, and every program is linked by the C++ compiler. (Set this
  # late: CMake's own test program needs the runtime.)
  set(CMAKE_CUDA_RUNTIME_LIBRARY None)
  find_package(CUDAToolkit 12.0 REQUIRED)
  message(STATUS "CUDA ${CMAKE_CUDA_COMPILER_VERSION} for architectures ${CMAKE_CUDA_ARCHITECTURES}")
endif()

# replk_cuda_options(<target>): the options of the .cu files of a target.
function(replk_cuda_options target)
  # A constexpr function (Philox, the window of a pooling) is written once, for both sides.
  set(options --expt-relaxed-constexpr -Xcompiler=-Wall,-Wextra)
  if(REPLK_WERROR)
    list(APPEND options -Werror=all-warnings -Xcompiler=-Werror)
  endif()
  target_compile_options(${target} PRIVATE "$<$<COMPILE_LANGUAGE:CUDA>:${options}>")
endfunction()

# replk_cuda_sources(<target> <files>): adds files to a target in a build with CUDA, and leaves them out otherwise.
function(replk_cuda_sources target)
  if(REPLK_HAS_CUDA)
    target_sources(${target} PRIVATE ${ARGN})
  endif()
  if(REPLK_EMULATED_CUDA)
    set(keywords ${PROJECT_SOURCE_DIR}/tests/emulated_cuda/cuda_keywords.h)
    foreach(source ${ARGN})
      if(source MATCHES "[.]cu$")
        set_source_files_properties(${source} PROPERTIES LANGUAGE CXX OBJECT_DEPENDS ${keywords} COMPILE_OPTIONS
          "-include;${keywords};-fno-strict-aliasing;-Wno-unknown-pragmas;-Wno-shadow;-Wno-unused;-Wno-maybe-uninitialized")
      endif()
    endforeach()
  endif()
endfunction()
