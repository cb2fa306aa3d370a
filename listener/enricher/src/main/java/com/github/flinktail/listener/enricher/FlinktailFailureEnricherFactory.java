package com.github.flinktail.listener.enricher;

import com.github.flinktail.listener.core.Reporter;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.core.failure.FailureEnricher;
import org.apache.flink.core.failure.FailureEnricherFactory;

/** Found by Flink through the service file of a jar in {@code plugins/}, once in a JobManager. Never throws. */
public final class FlinktailFailureEnricherFactory implements FailureEnricherFactory {

    @Override
    public FailureEnricher createFailureEnricher(Configuration conf) {
        return new FlinktailFailureEnricher(Reporter.of("flink-failure-enricher", conf));
    }
}
