#pragma once
#include <string>
#include <string_view>

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include "prunus/base/option.h"
#include "prunus/io/model_place.h"

namespace prunus {

// Rows that every table of a job has.

/// "cpu", "cuda" or "cuda:N". Throws InvalidArgument beginning with `where` for anything else, and
/// where this libtorch sees no CUDA device.
at::Device parse_device(const std::string& text, const std::string& where);

/// "float32", "bfloat16" or "float64". Throws InvalidArgument for anything else.
at::ScalarType parse_precision(std::string_view name);
std::string_view name_of_precision(at::ScalarType precision);

/// Help of an option that names a model.
inline constexpr const char* kModelHelp =
    "a Hugging Face model directory, a GGUF file, or the Hub's name of a downloaded model: "
    "org/name[@revision]";

/// The member of an option that names a model: `place` becomes where it lies (io/model_place.h),
/// and `given`, for the record, what was asked for.
#define PRUNUS_MODEL(Job, place, given)                                           \
  ::prunus::WordMember<Job> {                                                     \
    +[](Job& job, const std::string& text, const std::string&) {                  \
      job.place = ::prunus::locate_model(text).path;                              \
      job.given = text;                                                           \
    },                                                                            \
        +[](const Job& job) { return job.given.empty() ? job.place : job.given; } \
  }

/// Help and member of --device, by the member's path from the job.
inline constexpr const char* kDeviceHelp = "where to compute: cpu, cuda or cuda:N";
#define PRUNUS_DEVICE_MEMBER(Job, path)                                \
  ::prunus::WordMember<Job> {                                          \
    +[](Job& job, const std::string& text, const std::string& where) { \
      job.path = ::prunus::parse_device(text, where);                  \
    },                                                                 \
        +[](const Job& job) { return job.path.str(); }                 \
  }

/// The row of --device, which the record of a run has.
#define PRUNUS_DEVICE_OPTION(Job, path)                                                            \
  {                                                                                                \
    .info = {.key = "device", .help = ::prunus::kDeviceHelp, .recorded = ::prunus::Recorded::Yes}, \
    .member = PRUNUS_DEVICE_MEMBER(Job, path)                                                      \
  }

/// The row of --config, for a job with a member `recipe`.
#define PRUNUS_RECIPE_OPTION(Job, name, other_name)                                           \
  {                                                                                           \
    .info = {.key = name,                                                                     \
             .help =                                                                          \
                 "read options from this recipe: TOML (or .json), keys at top level or in a " \
                 "table with the command's name, '_' for '-'; the command line comes first; " \
                 "paths in it are relative to the working directory",                         \
             .also = other_name,                                                              \
             .is_recipe = true,                                                               \
             .recorded = ::prunus::Recorded::Yes,                                             \
             .record = "recipe"},                                                             \
    .member = PRUNUS_MEMBER(Job, recipe)                                                      \
  }

}  // namespace prunus
