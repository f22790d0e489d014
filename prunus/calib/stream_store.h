#pragma once
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace prunus {

/// Where a block stream keeps hidden states between its forward and its backward pass, and what it
/// leaves behind so that an interrupted run can go on at the last finished block.
/// In RAM as long as there is room, in files otherwise; where resuming is on, always in files too.
/// Files appear under their final name complete or not at all (killed processes included; the
/// disk's cache is not flushed, so after a power failure a damaged file is possible and found by
/// its size).
class StreamStore {
 public:
  struct Options {
    std::string dir = {};    ///< for files; empty: a temporary directory, made when it is needed
    int64_t ram_bytes = -1;  ///< for hidden states; −1: half of the memory that is free now
    bool resumable = false;  ///< leave in `dir` what an interrupted run needs to go on
  };
  explicit StreamStore(Options options);
  /// Everything in RAM, whatever it takes.
  static Options in_ram() { return {.ram_bytes = std::numeric_limits<int64_t>::max()}; }
  ~StreamStore();  ///< removes its temporary directory, never a given one
  StreamStore(const StreamStore&) = delete;
  StreamStore& operator=(const StreamStore&) = delete;

  /// Keeps tensors under a name until drop(), in host memory (to_host) or a file. Throws Io where a
  /// file cannot be written.
  void put(const std::string& name, const std::vector<at::Tensor>& tensors);
  /// What was put, on the device asked for: on the CPU, without a copy where it is in RAM. Throws
  /// NotFound; Corrupt where the file is damaged.
  std::vector<at::Tensor> get(const std::string& name, at::Device device) const;
  bool has(const std::string& name) const;
  void drop(const std::string& name);

  /// For resuming only: like put(), but nothing happens unless resumable.
  void record(const std::string& name, const std::vector<at::Tensor>& tensors);
  /// The largest or smallest N for which "<prefix>N" is on disk, from this or an earlier process;
  /// nothing where there is none or resuming is off.
  std::optional<int64_t> last(const std::string& prefix) const;
  std::optional<int64_t> first(const std::string& prefix) const;
  bool resumable() const { return options_.resumable; }
  int64_t spilled_bytes() const { return spilled_bytes_; }

 private:
  std::string path(const std::string& name) const;
  void write(const std::string& name, const std::vector<at::Tensor>& tensors);
  std::vector<int64_t> numbers(const std::string& prefix) const;

  Options options_;
  bool temporary_ = false;
  int64_t held_bytes_ = 0;
  int64_t spilled_bytes_ = 0;
  struct Held {
    std::vector<at::Tensor> tensors;  // in host memory
    int64_t bytes = 0;
  };
  std::map<std::string, Held> held_;
};

}  // namespace prunus
