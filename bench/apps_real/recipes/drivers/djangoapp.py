"""A Django project in one file."""
import json, os
from django.conf import settings
settings.configure(DEBUG=False, SECRET_KEY="x", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"])
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path
from openai import AsyncOpenAI, OpenAI
M = [{"role": "user", "content": "hello"}]
def event(c): return f"data: {json.dumps({'d': c.choices[0].delta.content if c.choices else None, 'pid': os.getpid()})}\n\n"
def pid(request): return HttpResponse(str(os.getpid()))
def s(request, model):
    def gen():
        for c in OpenAI().chat.completions.create(model=model, messages=M, stream=True): yield event(c)
        yield "data: [DONE]\n\n"
    return StreamingHttpResponse(gen(), content_type="text/event-stream")
async def a(request, model):
    async def gen():
        async for c in await AsyncOpenAI().chat.completions.create(model=model, messages=M, stream=True): yield event(c)
        yield "data: [DONE]\n\n"
    return StreamingHttpResponse(gen(), content_type="text/event-stream")
urlpatterns = [path("pid", pid), path("s/<model>", s), path("a/<model>", a)]
application, asgi = get_wsgi_application(), get_asgi_application()
