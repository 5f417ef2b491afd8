// The frame around all commands: parsing, the nearest flag for a mistyped one, exit codes.
//
// A command is a function `CLI::App* add_<name>_command(CLI::App& app)` that adds a subcommand whose callback
// runs it. The callback returns for success, throws an Error, or throws CLI::RuntimeError(exit code) when it
// has already said what there is to say.
#pragma once

#include <CLI/CLI.hpp>

namespace replk {

/// What the process returns.
enum ExitCode : int {
  kExitOk = 0,
  kExitNo = 1,            // it ran, and the answer is no: a limit was not met
  kExitUsage = 2,         // a bad flag, an unknown name, a configuration that makes no sense
  kExitBadData = 3,       // a file or data that is not what it should be; anything else that went wrong
  kExitNonFinite = 4,     // the loss or a gradient is infinite or NaN
  kExitInterrupted = 130  // Ctrl-C
};

/// Parses and runs the command that was asked for. Whatever goes wrong becomes one line on standard error,
/// "replk: ...", and one of the codes above; a mistyped command or flag is told with the nearest one.
int run_command_line(CLI::App& app, int argc, const char* const* argv);

}  // namespace replk
