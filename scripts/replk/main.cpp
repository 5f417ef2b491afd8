// replk: trains, evaluates and explains RepLKNet from the command line.
#include <csignal>

#include "scripts/replk/command_line.h"
#include "scripts/replk/commands.h"
#include "scripts/replk/train.h"

int main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a file that may not grow is an error like a full disk, not the end
  // Without a name of its own it is called what the user called it, in commands for copying too.
  CLI::App app("RepLK trains, evaluates and merges RepLKNet, the network with 31x31 kernels.");
  replk::add_train_command(app);
  replk::add_report_command(app);
  replk::add_eval_command(app);
  replk::add_predict_command(app);
  replk::add_reparam_command(app);
  replk::add_summary_command(app);
  replk::add_data_command(app);
  replk::add_convert_command(app);
  replk::add_inspect_command(app);
  return replk::run_command_line(app, argc, argv);
}
