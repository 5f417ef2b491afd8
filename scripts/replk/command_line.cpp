#include "scripts/replk/command_line.h"

#include <algorithm>
#include <iostream>
#include <new>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/nearest_name.h"
#include "scripts/replk/trainer.h"

namespace replk {
namespace {

int fail(int code, std::string message) {
  std::replace(message.begin(), message.end(), '\n', ' ');
  std::cerr << "replk: " << message << std::endl;
  return code;
}

// The command that was being parsed: the innermost one named on the command line.
const CLI::App& current_command(const CLI::App& app) {
  const CLI::App* current = &app;
  while (!current->get_subcommands().empty()) current = current->get_subcommands().back();
  return *current;
}

std::vector<std::string> flags_of(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options())
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  return names;
}

std::vector<std::string> commands_of(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(command->get_name());
  return names;
}

// What was wrong, in our words where a name was mistyped, otherwise in the parser's.
std::string usage_error(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App& command = current_command(app);
  const std::string where = &command == &app ? "" : command.get_name() + ": ";
  const std::vector<std::string> unknown = command.remaining();
  const auto flag = std::find_if(unknown.begin(), unknown.end(),
                                 [](const std::string& word) { return word.starts_with("-"); });
  if (flag != unknown.end()) {
    const std::string name = flag->substr(0, flag->find('='));
    return str(where, "unknown flag '", name, "'. Did you mean '", nearest_name(name, flags_of(command)),
               "'? All flags: ", app.get_name(), where.empty() ? "" : " " + command.get_name(), " --help");
  }
  if (!unknown.empty() && &command == &app)
    return str("unknown command '", unknown.front(), "'. Did you mean '",
               nearest_name(unknown.front(), commands_of(app)), "'? All commands: ", app.get_name(),
               " --help");
  if (!unknown.empty()) return str(where, "'", unknown.front(), "' was not expected.");
  if (&command == &app) return str("a command expected. All commands: ", app.get_name(), " --help");
  return where + error.what();
}

}  // namespace

int run_command_line(CLI::App& app, int argc, const char* const* argv) {
  app.require_subcommand(1);
  try {
    app.parse(argc, argv);
    return kExitOk;
  } catch (const CLI::RuntimeError& error) {
    return error.get_exit_code();
  } catch (const CLI::Success& request) {  // --help, --version
    return app.exit(request);
  } catch (const CLI::ParseError& error) {
    return fail(kExitUsage, usage_error(app, error));
  } catch (const UsageError& error) {
    return fail(kExitUsage, error.what());
  } catch (const NonFiniteError& error) {
    return fail(kExitNonFinite, error.what());
  } catch (const std::bad_alloc&) {
    return fail(kExitBadData, "out of memory.");
  } catch (const std::exception& error) {
    return fail(kExitBadData, error.what());
  }
}

}  // namespace replk
