// Interrupt: Ctrl-C as a question that a loop asks, instead of the end of the process.
#pragma once

#include <csignal>

namespace replk {

/// While it lives, the first SIGINT or SIGTERM is remembered; a second one ends the process at once with
/// code 130. One at a time. Afterwards the signals mean what they meant before.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  bool requested() const;

 private:
  struct sigaction old_int_ = {}, old_term_ = {};
};

}  // namespace replk
