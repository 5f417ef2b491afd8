# Finds everything the build needs, and names all that is missing at once, as one apt command.

set(replk_missing "")

# replk_need(<Debian package> <header> <variable for its include folder>)
function(replk_need package header variable)
  find_path(${variable} ${header} PATH_SUFFIXES ${ARGN})
  if(NOT ${variable})
    list(APPEND replk_missing ${package})
    set(replk_missing "${replk_missing}" PARENT_SCOPE)
  endif()
endfunction()

find_package(Threads REQUIRED)
replk_need(libeigen3-dev Eigen/Core REPLK_EIGEN_INCLUDE eigen3)
replk_need(libhwy-dev hwy/highway.h REPLK_HWY_INCLUDE)
replk_need(libfmt-dev fmt/format.h REPLK_FMT_INCLUDE)
replk_need(nlohmann-json3-dev nlohmann/json.hpp REPLK_JSON_INCLUDE)
replk_need(libcli11-dev CLI/CLI.hpp REPLK_CLI11_INCLUDE)
replk_need(libstb-dev stb_image.h REPLK_STB_INCLUDE stb)
replk_need(zlib1g-dev zlib.h REPLK_ZLIB_INCLUDE)
if(REPLK_TESTS)
  find_package(Catch2 QUIET)
  if(NOT Catch2_FOUND)
    list(APPEND replk_missing catch2)
  endif()
endif()

if(replk_missing)
  list(JOIN replk_missing " " replk_packages)
  message(FATAL_ERROR "Not installed: ${replk_packages}\n"
    "Install them with:  sudo apt-get install --no-install-recommends ${replk_packages}\n"
    "(./scripts/install.sh does that), then configure again.")
endif()

find_package(hwy QUIET CONFIG)
find_library(REPLK_HWY_LIBRARY NAMES hwy REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(ZLIB REQUIRED)

# Every external library as a target of one form, its headers treated as the system's (no warnings from them).
function(replk_external name include library)
  add_library(replk_${name} INTERFACE)
  target_include_directories(replk_${name} SYSTEM INTERFACE ${include})
  if(library)
    target_link_libraries(replk_${name} INTERFACE ${library})
  endif()
endfunction()
replk_external(eigen "${REPLK_EIGEN_INCLUDE}" "")
replk_external(highway "${REPLK_HWY_INCLUDE}" "${REPLK_HWY_LIBRARY}")
replk_external(stb "${REPLK_STB_INCLUDE}" "")
replk_external(cli11 "${REPLK_CLI11_INCLUDE}" "")
