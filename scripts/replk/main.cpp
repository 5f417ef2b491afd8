// replk: trains, evaluates and explains RepLKNet from the command line.
#include "scripts/replk/command_line.h"
#include "scripts/replk/train.h"

int main(int argc, char** argv) {
  CLI::App app("RepLK trains, evaluates and merges RepLKNet, the network with 31x31 kernels.", "replk");
  replk::add_train_command(app);
  return replk::run_command_line(app, argc, argv);
}
