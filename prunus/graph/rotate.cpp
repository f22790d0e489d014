#include "prunus/graph/rotate.h"

#include <cmath>
#include <memory>
#include <optional>
#include <string>

#include <ATen/ATen.h>

#include "prunus/base/error.h"
#include "prunus/model/layout.h"
#include "prunus/model/matmul.h"

namespace prunus {
namespace {

// What a weight has to do with the residual stream.
enum class StreamUse {
  None,
  Table,       // its rows are added to the stream
  Reads,       // its columns are the stream's channels, behind a norm
  Writes,      // its rows are
  WritesBias,  // it is added to the stream
  Gain,
  GainBias,
};

StreamUse stream_use(Role role) {
  switch (role) {
    case Role::EmbedTokens:
    case Role::EmbedPositions:
      return StreamUse::Table;
    case Role::LmHead:
    case Role::QProj:
    case Role::KProj:
    case Role::VProj:
    case Role::GateProj:
    case Role::UpProj:
    case Role::Router:
    case Role::SharedGateProj:
    case Role::SharedUpProj:
    case Role::SharedRouter:
      return StreamUse::Reads;
    case Role::OProj:
    case Role::DownProj:
    case Role::SharedDownProj:
      return StreamUse::Writes;
    case Role::OBias:
    case Role::DownBias:
      return StreamUse::WritesBias;
    case Role::FinalNorm:
    case Role::AttnNorm:
    case Role::MlpNorm:
      return StreamUse::Gain;
    case Role::FinalNormBias:
    case Role::AttnNormBias:
    case Role::MlpNormBias:
      return StreamUse::GainBias;
    default:
      return StreamUse::None;
  }
}

struct NormRoles {
  Role gain;
  Role bias;
};

// The norm in front of a matrix that reads the stream.
NormRoles norm_in_front(Role reader) {
  if (reader == Role::LmHead) return {Role::FinalNorm, Role::FinalNormBias};
  return sub_layer_of(reader) == SubLayer::Attention ? NormRoles{Role::AttnNorm, Role::AttnNormBias}
                                                     : NormRoles{Role::MlpNorm, Role::MlpNormBias};
}

class RotatedSource : public WeightSource {
 public:
  RotatedSource(Model model, const at::Tensor& vectors)
      : model_(std::move(model)), size_(vectors.size(1)) {
    const double c =
        std::sqrt(static_cast<double>(size_) / static_cast<double>(model_.config().hidden_size));
    writing_ = (vectors * c).to(at::kFloat);
    reading_ = (vectors / c).to(at::kFloat);
  }

  at::Tensor read(const TensorInfo& tensor) const override {
    const StreamUse use = stream_use(tensor.spec->role);
    const at::ScalarType type = dtype(tensor);
    if (use == StreamUse::Gain) return at::full({size_}, plus_one() ? 0.0 : 1.0, type);
    if (use == StreamUse::GainBias) return at::ones({size_}, type);
    const TensorInfo& before = dense(tensor);
    const at::Tensor weight = source().read(before);
    if (use == StreamUse::None) return weight;
    const at::Tensor result = changed(tensor, use, weight.to(at::kFloat)).to(type);
    source().release(before);
    return result;
  }
  at::Tensor read_rows(const TensorInfo& tensor, int64_t begin, int64_t count) const override {
    return by_rows(tensor) ? rows_of(tensor, source().read_rows(dense(tensor), begin, count))
                           : WeightSource::read_rows(tensor, begin, count);
  }
  at::Tensor select_rows(const TensorInfo& tensor, const at::Tensor& rows) const override {
    return by_rows(tensor) ? rows_of(tensor, source().select_rows(dense(tensor), rows))
                           : WeightSource::select_rows(tensor, rows);
  }
  bool has(const TensorInfo& tensor) const override { return source().has(dense(tensor)); }
  at::ScalarType dtype(const TensorInfo& tensor) const override {
    return source().dtype(dense(tensor));
  }
  void prefetch(const TensorInfo& tensor) const override { source().prefetch(dense(tensor)); }
  void release(const TensorInfo& tensor) const override { source().release(dense(tensor)); }

 private:
  const WeightSource& source() const { return model_.source(); }
  // The head of a tied model is its embedding.
  const TensorInfo& dense(const TensorInfo& tensor) const {
    return model_.tensor(tensor.spec->role, tensor.layer);
  }
  bool plus_one() const { return model_.config().family->norm == NormKind::RmsPlusOne; }

  static bool by_rows(const TensorInfo& tensor) {
    const StreamUse use = stream_use(tensor.spec->role);
    return use == StreamUse::Table || use == StreamUse::Reads;
  }
  at::Tensor rows_of(const TensorInfo& tensor, const at::Tensor& rows) const {
    return changed(tensor, stream_use(tensor.spec->role), rows.to(at::kFloat)).to(dtype(tensor));
  }

  at::Tensor vector(Role role, int layer) const {
    return source().read(model_.tensor(role, layer)).to(at::kFloat);
  }

  at::Tensor changed(const TensorInfo& tensor, StreamUse use, const at::Tensor& weight) const {
    switch (use) {
      case StreamUse::Table:
        return product(weight, writing_).mul_(table_scale(tensor.spec->role));
      case StreamUse::Reads:
        return reader(tensor, weight);
      case StreamUse::Writes:
        return product(writing_.t(), weight);
      case StreamUse::WritesBias:
        return at::mv(writing_.t(), weight);
      default:
        return weight;
    }
  }

  // y = normalised · gain + bias, read by W: what W makes of the bias goes into columns all of
  // which the new norm's bias of ones adds up; centred states add up to 0.
  at::Tensor reader(const TensorInfo& tensor, const at::Tensor& weight) const {
    const NormRoles norm = norm_in_front(tensor.spec->role);
    const at::Tensor gain = vector(norm.gain, tensor.layer);
    const at::Tensor turned = product(weight * (plus_one() ? gain + 1 : gain), reading_);
    if (model_.config().family->norm != NormKind::Layer) return turned;
    const at::Tensor constant = at::mv(weight, vector(norm.bias, tensor.layer));
    return turned + (constant / static_cast<double>(size_)).unsqueeze(1);
  }

  // Rows of tokens are multiplied by the root of the new hidden_size, where by that of the old one.
  double table_scale(Role role) const {
    const ModelConfig& config = model_.config();
    if (role != Role::EmbedTokens || !config.family->embedding_scale) return 1;
    return config.embedding_scale / rotated_config(config, size_).embedding_scale;
  }

  Model model_;
  int64_t size_;
  at::Tensor writing_;  // cQ
  at::Tensor reading_;  // Q/c
};

// Why the stream cannot be turned; empty: it can.
std::string rotation_obstacle(const Model& model) {
  const ModelConfig& config = model.config();
  const Family& family = *config.family;
  if (!config.pre_norm) return "its norms stand behind the sums";
  if (family.embedding_norm) return "a norm follows its embedding";
  if (!config.final_norm) return "its head reads the stream without a norm";
  if (family.normalised_head) return "the rows of its head are divided by their length";
  if (config.tie_word_embeddings && family.tied.key.empty()) {
    return "its head is its embedding, and no key of config.json can say otherwise";
  }
  for (const TensorInfo& tensor : model.tensors()) {
    const Role role = tensor.spec->role;
    if (role == Role::PostAttnNorm || role == Role::PostMlpNorm) {
      return c10::str("'", tensor.name, "' normalises what a part adds to the stream");
    }
  }
  return {};
}

// Orthonormal rows across the vector of ones, [n − 1, n]: Helmert's.
at::Tensor centred_rows(int64_t n) {
  at::Tensor rows = at::zeros({n - 1, n}, at::kDouble);
  for (int64_t k = 1; k < n; ++k) {
    const double length = std::sqrt(static_cast<double>(k) * static_cast<double>(k + 1));
    rows[k - 1].narrow(0, 0, k).fill_(1 / length);
    rows[k - 1][k].fill_(-static_cast<double>(k) / length);
  }
  return rows;
}

}  // namespace

void check_rotatable(const Model& model) {
  const std::string why = rotation_obstacle(model);
  PRUNUS_CHECK(why.empty(), Unsupported, "the residual stream of this ",
               model.config().family->model_type, " cannot be turned: ", why,
               "; to cut channels as they are, take another method with --structure channel");
}

ModelConfig rotated_config(const ModelConfig& config, int64_t hidden_size) {
  ModelConfig result = config;
  result.hidden_size = hidden_size;
  result.tie_word_embeddings = false;
  if (config.family->embedding_scale) {
    result.embedding_scale = std::sqrt(static_cast<double>(hidden_size));
  }
  return result;
}

StreamBasis stream_basis(const at::Tensor& moments, int64_t size, NormKind norm) {
  const int64_t channels = moments.size(0);
  const bool centres = norm == NormKind::Layer;
  PRUNUS_CHECK(size >= (centres ? 2 : 1) && size <= channels, InvalidArgument, "a basis of ", size,
               " vectors was asked for; the residual stream has ", channels,
               " channels, and at least ", centres ? 2 : 1, " must stay");
  PRUNUS_CHECK(at::isfinite(moments).all().item<bool>(), Numeric,
               "second moments of the residual stream are not finite; the model overflows on this "
               "text, or its weights are damaged");
  const at::Tensor across = centres ? centred_rows(channels) : at::Tensor();
  const at::Tensor inside = centres ? at::mm(at::mm(across, moments), across.t()) : moments;
  const auto [values, columns] = at::linalg_eigh(inside);
  const int64_t kept = centres ? size - 1 : size;
  const at::Tensor best = columns.flip({1}).narrow(1, 0, kept);
  const double all = values.sum().item<double>();
  const double energy = values.flip({0}).narrow(0, 0, kept).sum().item<double>();
  const at::Tensor vectors =
      centres ? at::mm(at::mm(across.t(), best), centred_rows(size)) : best.contiguous();
  return {vectors, all > 0 ? energy / all : 1.0};
}

Model rotated(const Model& model, const at::Tensor& vectors) {
  check_rotatable(model);
  PRUNUS_CHECK(vectors.dim() == 2 && vectors.size(0) == model.config().hidden_size &&
                   vectors.size(1) <= vectors.size(0),
               InvalidArgument, "a basis of shape ", vectors.sizes(), " for a stream of ",
               model.config().hidden_size, " channels");
  Model result(rotated_config(model.config(), vectors.size(1)),
               std::make_shared<RotatedSource>(model, vectors));
  result.set_precision(model.precision());
  return result;
}

}  // namespace prunus
