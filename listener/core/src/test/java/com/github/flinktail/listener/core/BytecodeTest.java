package com.github.flinktail.listener.core;

import org.junit.jupiter.api.Test;

class BytecodeTest {

    @Test
    void theCoreRunsOnJava8() throws Exception {
        Bytecode.check(Reporter.class, Bytecode.JAVA_8);
    }
}
