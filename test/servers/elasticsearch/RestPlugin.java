package com.github.flinktail.elasticsearch;

import java.io.IOException;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.function.Predicate;
import java.util.function.Supplier;
import java.util.regex.Pattern;
import org.apache.lucene.analysis.TokenStream;
import org.apache.lucene.analysis.email.UAX29URLEmailTokenizer;
import org.apache.lucene.analysis.miscellaneous.RemoveDuplicatesTokenFilter;
import org.apache.lucene.analysis.pattern.PatternCaptureGroupTokenFilter;
import org.elasticsearch.Build;
import org.elasticsearch.action.ActionListener;
import org.elasticsearch.action.ActionRequest;
import org.elasticsearch.action.ActionResponse;
import org.elasticsearch.action.admin.cluster.state.ClusterStateResponse;
import org.elasticsearch.action.datastreams.CreateDataStreamAction;
import org.elasticsearch.action.support.ActionFilters;
import org.elasticsearch.action.support.master.AcknowledgedResponse;
import org.elasticsearch.action.support.master.AcknowledgedTransportMasterNodeAction;
import org.elasticsearch.client.internal.node.NodeClient;
import org.elasticsearch.cluster.ClusterState;
import org.elasticsearch.cluster.block.ClusterBlockException;
import org.elasticsearch.cluster.block.ClusterBlockLevel;
import org.elasticsearch.cluster.metadata.IndexNameExpressionResolver;
import org.elasticsearch.cluster.metadata.MetadataCreateDataStreamService;
import org.elasticsearch.cluster.metadata.MetadataCreateIndexService;
import org.elasticsearch.cluster.node.DiscoveryNodes;
import org.elasticsearch.cluster.service.ClusterService;
import org.elasticsearch.common.io.stream.NamedWriteableRegistry;
import org.elasticsearch.common.settings.ClusterSettings;
import org.elasticsearch.common.settings.IndexScopedSettings;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.common.settings.SettingsFilter;
import org.elasticsearch.common.util.concurrent.EsExecutors;
import org.elasticsearch.core.TimeValue;
import org.elasticsearch.features.NodeFeature;
import org.elasticsearch.index.analysis.AbstractTokenFilterFactory;
import org.elasticsearch.index.analysis.PreConfiguredTokenFilter;
import org.elasticsearch.index.analysis.PreConfiguredTokenizer;
import org.elasticsearch.index.analysis.TokenFilterFactory;
import org.elasticsearch.indices.analysis.AnalysisModule.AnalysisProvider;
import org.elasticsearch.injection.guice.Inject;
import org.elasticsearch.plugins.ActionPlugin;
import org.elasticsearch.plugins.AnalysisPlugin;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.rest.BaseRestHandler;
import org.elasticsearch.rest.RestController;
import org.elasticsearch.rest.RestHandler;
import org.elasticsearch.rest.RestRequest;
import org.elasticsearch.rest.RestResponse;
import org.elasticsearch.rest.RestStatus;
import org.elasticsearch.rest.RestUtils;
import org.elasticsearch.rest.action.RestResponseListener;
import org.elasticsearch.rest.action.RestToXContentListener;
import org.elasticsearch.tasks.Task;
import org.elasticsearch.threadpool.ThreadPool;
import org.elasticsearch.transport.TransportService;
import org.elasticsearch.xcontent.XContentBuilder;

/**
 * What the distribution for integration tests lacks, because it comes without the modules rest-root, data-streams and
 * analysis-common, and clients need: GET and HEAD /, the creation of data streams, and the analysis that the index of
 * the API keys asks for. The server's and Lucene's own classes do the work.
 */
public final class RestPlugin extends Plugin implements ActionPlugin, AnalysisPlugin {

  @Override
  public Map<String, AnalysisProvider<TokenFilterFactory>> getTokenFilters() {
    return Map.of("pattern_capture",
        AnalysisPlugin.requiresAnalysisSettings((index, environment, name, settings) -> new PatternCapture(name, settings)));
  }

  @Override
  public List<PreConfiguredTokenFilter> getPreConfiguredTokenFilters() {
    return List.of(PreConfiguredTokenFilter.singleton("unique", false, RemoveDuplicatesTokenFilter::new));
  }

  @Override
  public List<PreConfiguredTokenizer> getPreConfiguredTokenizers() {
    return List.of(PreConfiguredTokenizer.singleton("uax_url_email", UAX29URLEmailTokenizer::new));
  }

  @Override
  public Collection<ActionHandler<? extends ActionRequest, ? extends ActionResponse>> getActions() {
    return List.of(new ActionHandler<>(CreateDataStreamAction.INSTANCE, CreateDataStream.class));
  }

  @Override
  public Collection<RestHandler> getRestHandlers(
      Settings settings, NamedWriteableRegistry registry, RestController controller, ClusterSettings clusterSettings,
      IndexScopedSettings indexSettings, SettingsFilter filter, IndexNameExpressionResolver resolver,
      Supplier<DiscoveryNodes> nodes, Predicate<NodeFeature> features) {
    return List.of(new Root(), new PutDataStream());
  }

  private static final class PatternCapture extends AbstractTokenFilterFactory {
    private final boolean preserve;
    private final Pattern[] patterns;

    PatternCapture(String name, Settings settings) {
      super(name, settings);
      preserve = settings.getAsBoolean("preserve_original", true);
      patterns = settings.getAsList("patterns").stream().map(Pattern::compile).toArray(Pattern[]::new);
    }

    @Override
    public TokenStream create(TokenStream in) {
      return new PatternCaptureGroupTokenFilter(in, preserve, patterns);
    }
  }

  private static final class Root extends BaseRestHandler {
    @Override
    public String getName() {
      return "flinktail_root";
    }

    @Override
    public List<Route> routes() {
      return List.of(new Route(RestRequest.Method.GET, "/"), new Route(RestRequest.Method.HEAD, "/"));
    }

    @Override
    protected RestChannelConsumer prepareRequest(RestRequest request, NodeClient client) {
      return channel -> client.admin().cluster().prepareState(TimeValue.timeValueSeconds(10))
          .setLocal(true).clear().setNodes(true).setMetadata(true)
          .execute(new RestResponseListener<>(channel) {
            @Override
            public RestResponse buildResponse(ClusterStateResponse answer)
                throws IOException {
              ClusterState state = answer.getState();
              return new RestResponse(RestStatus.OK, describe(channel.newBuilder(), answer.getClusterName().value(),
                  state.nodes().get(client.getLocalNodeId()).getName(), state.metadata().clusterUUID()));
            }
          });
    }

    private static XContentBuilder describe(XContentBuilder json, String cluster, String node, String uuid) throws IOException {
      Build build = Build.current();
      return json.startObject()
          .field("name", node)
          .field("cluster_name", cluster)
          .field("cluster_uuid", uuid)
          .startObject("version")
          .field("number", build.qualifiedVersion())
          .field("build_flavor", build.flavor())
          .field("build_type", build.type().displayName())
          .field("build_hash", build.hash())
          .field("build_date", build.date())
          .field("build_snapshot", build.isSnapshot())
          .field("minimum_wire_compatibility_version", build.minWireCompatVersion())
          .field("minimum_index_compatibility_version", build.minIndexCompatVersion())
          .endObject()
          .field("tagline", "You Know, for Search")
          .endObject();
    }
  }

  private static final class PutDataStream extends BaseRestHandler {
    @Override
    public String getName() {
      return "flinktail_create_data_stream";
    }

    @Override
    public List<Route> routes() {
      return List.of(new Route(RestRequest.Method.PUT, "/_data_stream/{name}"));
    }

    @Override
    protected RestChannelConsumer prepareRequest(RestRequest request, NodeClient client) {
      var create = new CreateDataStreamAction.Request(
          RestUtils.getMasterNodeTimeout(request), RestUtils.getAckTimeout(request), request.param("name"));
      return channel -> client.execute(CreateDataStreamAction.INSTANCE, create, new RestToXContentListener<>(channel));
    }
  }

  /** Public, because the server's injector makes it. */
  public static final class CreateDataStream extends AcknowledgedTransportMasterNodeAction<CreateDataStreamAction.Request> {
    private final MetadataCreateDataStreamService service;

    @Inject
    public CreateDataStream(TransportService transport, ClusterService cluster, ThreadPool threads, ActionFilters filters,
        MetadataCreateIndexService indices) {
      super(CreateDataStreamAction.NAME, transport, cluster, threads, filters, CreateDataStreamAction.Request::new,
          EsExecutors.DIRECT_EXECUTOR_SERVICE);
      service = new MetadataCreateDataStreamService(threads, cluster, indices);
    }

    @Override
    protected void masterOperation(Task task, CreateDataStreamAction.Request request, ClusterState state,
        ActionListener<AcknowledgedResponse> listener) {
      service.createDataStream(new MetadataCreateDataStreamService.CreateDataStreamClusterStateUpdateRequest(
          request.getName(), request.getStartTime(), null, request.masterNodeTimeout(), request.ackTimeout(), true), listener);
    }

    @Override
    protected ClusterBlockException checkBlock(CreateDataStreamAction.Request request, ClusterState state) {
      return state.blocks().globalBlockedException(ClusterBlockLevel.METADATA_WRITE);
    }
  }
}
