#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/calib/stream.h"
#include "prunus/cli/command_line.h"
#include "prunus/job/job_options.h"
#include "prunus/model/lm_head.h"
#include "prunus/model/positions.h"

namespace prunus::commands {
namespace {

struct LogitsJob {
  std::string model_dir;
  std::string model_asked;
  std::string ids;
  at::Device device = at::kCPU;
};

constexpr Option<LogitsJob> kOptions[] = {
    {.info = {.key = "model", .help = kModelHelp, .positional = "MODEL", .required = true},
     .member = PRUNUS_MODEL(LogitsJob, model_dir, model_asked)},
    {.info = {.key = "ids",
              .help = "token ids, e.g. 1,5,7; ';' separates rows of equal length",
              .required = true},
     .member = PRUNUS_MEMBER(LogitsJob, ids)},
    PRUNUS_DEVICE_OPTION(LogitsJob, device)};

const OptionTable<LogitsJob> table{
    .command = "logits", .options = kOptions, .fresh = +[] { return LogitsJob(); }};

// "1,5,7;2,9,3": rows of equal length.
at::Tensor parse_ids(const std::string& text) {
  std::vector<at::Tensor> rows;
  std::stringstream all(text);
  for (std::string row; std::getline(all, row, ';');) {
    std::vector<int64_t> ids;
    std::stringstream numbers(row);
    for (std::string number; std::getline(numbers, number, ',');) {
      size_t used = 0;
      try {
        ids.push_back(std::stoll(number, &used));
      } catch (const std::exception&) {
        used = 0;
      }
      PRUNUS_CHECK(used == number.size() && used > 0, InvalidArgument, "--ids: '", number,
                   "' is not a token id; expected numbers, commas between them, ';' between rows");
    }
    rows.push_back(at::tensor(ids, at::kLong));
    PRUNUS_CHECK(!ids.empty() && rows[0].size(0) == rows.back().size(0), InvalidArgument,
                 "--ids: row ", rows.size(), " has ", ids.size(), " ids, the first ",
                 rows[0].size(0), "; expected as many in each");
  }
  PRUNUS_CHECK(!rows.empty(), InvalidArgument, "--ids: no token ids");
  return at::stack(rows);
}

Json rows_of(const at::Tensor& ids) {
  Json rows = Json::array();
  for (int64_t i = 0; i < ids.size(0); ++i) {
    const at::Tensor row = ids[i].contiguous();
    const int64_t* data = row.const_data_ptr<int64_t>();
    rows.push_back(std::vector<int64_t>(data, data + row.numel()));
  }
  return rows;
}

void run(const LogitsJob& job) {
  const at::NoGradGuard no_grad;
  const at::Tensor ids = parse_ids(job.ids);
  const Model model = open_model(job.model_dir);
  const int64_t context = longest_sequence(model.config());
  PRUNUS_CHECK(ids.size(1) <= context, InvalidArgument, "--ids: rows of ", ids.size(1),
               " ids are beyond the model's context of ", context);
  const BlockStream stream(model, job.device);
  std::vector<at::Tensor> hidden = stream.embed({{ids}});
  stream.forward(hidden);
  const at::Tensor logits = LmHead(model, job.device)
                                .logits(hidden[0].to(job.device).flatten(0, 1))
                                .cpu()
                                .view({ids.size(0), ids.size(1), -1});
  Json json = {{"model", job.model_asked}, {"input_ids", rows_of(ids)}, {"logits", Json::array()}};
  for (int64_t row = 0; row < ids.size(0); ++row) {
    Json places = Json::array();
    for (int64_t place = 0; place < ids.size(1); ++place) {
      const at::Tensor one = logits[row][place].contiguous();
      const float* data = one.const_data_ptr<float>();
      places.push_back(std::vector<float>(data, data + one.numel()));
    }
    json["logits"].push_back(std::move(places));
  }
  print_json(json);
}

std::function<void()> declare(CLI::App& app) {
  auto command = std::make_shared<JobCommand<LogitsJob>>(table, app, process_table);
  add_examples(app,
               {"prunus logits MODEL --ids 1,5,7", "prunus logits MODEL --ids \"1,5,7;2,9,3\""});
  return [command] {
    command->begin();
    run(command->job);
  };
}

}  // namespace

extern const Command logits{"logits", "Print the logits of token ids as JSON, to compare software",
                            declare};

}  // namespace prunus::commands
