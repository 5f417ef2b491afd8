// Runs a program, the way a shell would, and keeps what it said. A folder for the files of one test.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace replk::test {

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline void write_text(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

/// A new, empty folder, removed with all it holds at the end of the scope.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "replk_test_XXXXXX").string();
    if (!mkdtemp(name.data())) throw std::runtime_error("mkdtemp failed: " + name);
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// How a program ended and what it wrote.
struct Outcome {
  int code = -1;  // exit status, or 128 + the signal that ended it
  std::string out, err;
};

/// A program that is running. Its output goes to files, so that it never waits for a reader.
class Process {
 public:
  using Environment = std::vector<std::pair<std::string, std::string>>;

  /// Starts `command` (program first, looked up in PATH) with these variables set besides our own; it sees no
  /// GPU unless they show it one.
  explicit Process(const std::vector<std::string>& command, const Environment& environment = {}) {
    std::vector<char*> arguments;
    for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    const std::string out = folder_ / "out", err = folder_ / "err";
    id_ = fork();
    if (id_ < 0) throw std::runtime_error("fork failed");
    if (id_ == 0) {
      redirect(out, STDOUT_FILENO);
      redirect(err, STDERR_FILENO);
      setenv("CUDA_VISIBLE_DEVICES", "", 1);
      for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
      execvp(arguments[0], arguments.data());
      _exit(127);
    }
  }
  ~Process() {
    if (id_ <= 0) return;
    kill(id_, SIGKILL);
    waitpid(id_, nullptr, 0);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  void send(int signal) { kill(id_, signal); }
  /// What it has written so far.
  std::string out() const { return read_text(folder_ / "out"); }
  std::string err() const { return read_text(folder_ / "err"); }

  /// Waits for its end; one that takes longer than `seconds` is killed.
  Outcome wait(double seconds = 300) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    int status = 0;
    while (waitpid(id_, &status, WNOHANG) == 0) {
      if (std::chrono::steady_clock::now() > deadline) kill(id_, SIGKILL);
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    id_ = 0;
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), out(), err()};
  }

 private:
  static void redirect(const std::string& path, int descriptor) {
    const int file = open(path.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600);
    dup2(file, descriptor);
    close(file);
  }

  TemporaryFolder folder_;
  pid_t id_ = 0;
};

#ifdef REPLK_BINARY
/// Runs `replk` with these arguments.
inline Outcome run_replk(std::vector<std::string> arguments, const Process::Environment& environment = {}) {
  arguments.insert(arguments.begin(), REPLK_BINARY);
  return Process(arguments, environment).wait();
}
#endif

}  // namespace replk::test
