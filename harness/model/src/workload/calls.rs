//! Emits calls: the text of a call, its site, and the callee's context.

use super::graph::{Call, Fun, Site};
use super::program::Program;

impl Program<'_> {
    /// Emits a plain call: `name(context)`.
    pub(super) fn invoke(&mut self, fun: Fun) -> Site {
        let name = self.identifier(fun);
        self.call(fun, &format!("{name}(@)"))
    }

    /// Emits a call that is spread over several lines. The caller's line is the first.
    pub(super) fn invoke_spread(&mut self, fun: Fun) {
        let site = self.site(fun);
        let (name, context) = (self.identifier(fun), self.context(site));
        self.line(&format!("{name}("));
        self.here(&[site]);
        self.line(&format!("    {context},"));
        self.line(")");
    }

    /// Emits a line that calls through `site`. `@` in the text is replaced by the callee's context.
    pub(super) fn through(&mut self, site: Site, text: &str) {
        let context = self.context(site);
        self.line(&text.replace('@', &context));
        self.here(&[site]);
    }

    /// Emits a line with a new call site. `@` in the text is replaced by the callee's context.
    pub(super) fn call(&mut self, callee: Fun, text: &str) -> Site {
        let site = self.site(callee);
        self.through(site, text);
        site
    }

    /// Emits a line that creates a generator or coroutine. The new frame is on the stack until it has created its
    /// object.
    pub(super) fn make(&mut self, generator: Fun, text: &str) {
        self.line(text);
        self.makes(generator);
    }

    /// Like [`Self::make`], for a line that was already emitted.
    pub(super) fn makes(&mut self, generator: Fun) {
        let site = self.add(Call { barren: true, ..Call::of(generator) });
        self.here(&[site]);
    }

    /// The text of the context to which `site` leads from the context in `c`.
    pub(super) fn context(&self, site: Site) -> String {
        self.context_from("c", site)
    }

    /// The text of the context to which `site` leads from the context that `base` evaluates to.
    pub(super) fn context_from(&self, base: &str, site: Site) -> String {
        if self.gated() { format!("_n[{base}][{}]", site.number) } else { "0".into() }
    }

    /// Emits a line that stores the callee's context in the first cell, for a callee that gets no argument from the
    /// generator.
    pub(super) fn aim(&mut self, site: Site) {
        if self.gated() {
            let line = format!("_w[0] = {}", self.context(site));
            self.line(&line);
        }
    }

    /// Like [`Self::aim`] with the second cell, for a line that enters two callees.
    pub(super) fn aim_second(&mut self, site: Site) {
        if self.gated() {
            let line = format!("_w[1] = {}", self.context(site));
            self.line(&line);
        }
    }

    /// Emits an aimed call: the line that aims, then the call.
    pub(super) fn aimed(&mut self, callee: Fun, text: &str) -> Site {
        let site = self.site(callee);
        self.aim(site);
        self.line(text);
        self.here(&[site]);
        site
    }

    /// Emits the line with which a callee takes its context from the first cell.
    pub(super) fn take(&mut self) {
        self.take_from("_w[0]");
    }

    /// Emits the line with which a callee takes its context from an expression.
    pub(super) fn take_from(&mut self, context: &str) {
        if self.gated() {
            self.line(&format!("c = {context}"));
        }
    }
}
