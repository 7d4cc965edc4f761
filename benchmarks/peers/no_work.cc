// A server of our own service that computes nothing: what gRPC itself allows, by the callback API of C++.
//
//     no_work PORT_FILE
//
// It reads each request whole and builds each answer anew, with 20 items, as a real server has to.

#include <grpcpp/grpcpp.h>

#include <cstdio>
#include <fstream>
#include <memory>
#include <string>

#include "bascule/v1/recommendation_service.grpc.pb.h"

namespace {

constexpr int kItems = 20;

class NoWork final : public bascule::v1::RecommendationService::CallbackService {
  grpc::ServerUnaryReactor* RecommendItems(grpc::CallbackServerContext* context,
                                           const bascule::v1::RecommendItemsRequest*,
                                           bascule::v1::RecommendItemsResponse* response) override {
    response->mutable_served_by()->set_model("generated");
    response->mutable_served_by()->set_version(1);
    bascule::v1::Ranking* ranking = response->mutable_ranking();
    ranking->set_path(bascule::v1::RANKING_PATH_HISTORY);
    for (int item = 0; item < kItems; ++item) {
      ranking->add_item_ids("i000123");
      ranking->add_scores(1.0f / static_cast<float>(item + 1));
    }
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) {
    std::fprintf(stderr, "usage: %s PORT_FILE\n", arguments[0]);
    return 2;
  }
  NoWork service;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return 1;
  const std::string path = arguments[1];
  std::ofstream(path + ".part") << port << "\n";  // whole or not at all, since others wait for the file
  std::rename((path + ".part").c_str(), path.c_str());
  server->Wait();
}
