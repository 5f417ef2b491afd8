// Errors: one exception type, thrown at the public boundary of every function that can be misused.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace replk {

/// What went wrong, in one line: "where: what is wrong: expected, got. What to do."
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A file (or a stream of bytes from outside) that is not what it claims to be. Names file, place and
/// expectation.
class FileError : public Error {
 public:
  using Error::Error;
};

/// A request that cannot be carried out as written: an unknown name, a flag out of range.
class UsageError : public Error {
 public:
  using Error::Error;
};

/// Concatenates its arguments as `operator<<` prints them: str("got ", shape, ", want rank ", 4).
template <class... Args>
std::string str(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return out.str();
}

/// Throws Error(str(message...)) unless `condition` holds. Always on, in every build.
template <class... Args>
void check(bool condition, const Args&... message) {
  if (!condition) [[unlikely]]
    throw Error(str(message...));
}

}  // namespace replk
